-- Answers if the store does.
SELECT 1

// Asks a browser what locators select: `node check.mjs LOCATORS BROWSER`.
//
// LOCATORS is what `healing locators` wrote; playwright-core stands in $NODE_PATH_DIR/node_modules. Every page is
// loaded into the browser with scripts off and without anything that it refers to. CSS goes to
// document.querySelectorAll, XPath to document.evaluate, roles to Playwright's own computation of names. A locator is
// right if it selects exactly one element, and that one is the element it was made for: the one with the same number
// in document order. Ends with 1 if any is wrong.
import { createInterface } from "node:readline";
import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [locators, browser] = process.argv.slice(2);
const require = createRequire(resolve(process.env.NODE_PATH_DIR ?? ".", "node_modules", "here.js"));
const { chromium } = require("playwright-core");

/** Of each locator of a page: how many elements it selects, and the number of the first. Runs in the browser. */
function selected(found) {
  const numbers = new Map([...document.querySelectorAll("*")].map((element, at) => [element, at]));
  const ask = ({ by, value }) => {
    if (by === "css") {
      const all = document.querySelectorAll(value);
      return [all.length, numbers.get(all[0])];
    }
    const all = document.evaluate(value, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
    return [all.snapshotLength, numbers.get(all.snapshotItem(0))];
  };
  const safe = (locator) => {
    try {
      return locator.by === "role" ? null : ask(locator);
    } catch (error) {
      return [String(error), -1];
    }
  };
  return { elements: numbers.size, answers: found.map(({ locators }) => locators.map(safe)) };
}

const started = await chromium.launch({ executablePath: browser, args: ["--no-sandbox"] });
const context = await started.newContext({ javaScriptEnabled: false });
const counts = {};
const wrong = [];
let [pages, other, roles] = [0, 0, 0];
for await (const line of createInterface({ input: createReadStream(locators) })) {
  const { file, elements, found } = JSON.parse(line);
  const html = readFileSync(file);
  const page = await context.newPage();
  await page.route("**/*", (route) =>
    route.request().isNavigationRequest() && route.request().frame() === page.mainFrame()
      ? route.fulfill({ contentType: "text/html; charset=utf-8", body: html })
      : route.abort(),
  );
  await page.goto("http://page.test/", { waitUntil: "domcontentloaded" });
  const seen = await page.evaluate(selected, found);
  pages += 1;
  if (seen.elements !== elements) {
    // Parsers may differ on broken HTML; then numbers mean nothing and the page is told of.
    other += 1;
    console.error(`${file}: ${elements} elements here, ${seen.elements} in the browser`);
    await page.close();
    continue;
  }
  for (const [count, { at, locators }] of found.entries()) {
    for (const [which, { by, strategy, value }] of locators.entries()) {
      let answer = seen.answers[count][which];
      if (by === "role") {
        // Each takes the browser a tenth of a second; ten of every page are asked.
        if (count % Math.ceil(found.length / 10) !== 0) continue;
        const named = value.replace(/"\]$/, '"s][include-hidden]');
        const all = page.locator(`role=${named}`);
        const size = await all.count();
        const number = size ? await all.first().evaluate((element) => [...document.querySelectorAll("*")].indexOf(element)) : -1;
        answer = [size, number];
        roles += 1;
      }
      const key = `${strategy} (${by})`;
      counts[key] ??= { asked: 0, right: 0 };
      counts[key].asked += 1;
      if (answer[0] === 1 && answer[1] === at) counts[key].right += 1;
      else wrong.push({ file, at, by, value, answer });
    }
  }
  await page.close();
}
await started.close();
console.log(`| Strategy | Locators asked | Select exactly their element |\n|---|---|---|`);
for (const [key, { asked, right }] of Object.entries(counts).sort()) console.log(`| ${key} | ${asked} | ${right} |`);
const asked = Object.values(counts).reduce((sum, count) => sum + count.asked, 0);
console.log(`| **all** | ${asked} | ${asked - wrong.length} |\n\n${pages} pages, ${other} of them parsed differently and left out; ${roles} roles asked.`);
for (const one of wrong.slice(0, 20)) console.error(JSON.stringify(one));
process.exit(wrong.length || other > pages / 10 ? 1 : 0);

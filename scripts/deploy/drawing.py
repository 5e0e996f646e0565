"""Draws panels as Grafana's classic JSON model."""
import json

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# A variable and where its values come from, for the dashboards that use it.
VARIABLES = {"queue": "label_values(queue_depth, queue)", "pool": "label_values(active_jobs, worker_pool)"}


def variables(text):
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1,
           "hide": 0, "includeAll": False, "multi": False, "options": [], "current": {}, "regex": ""}
    for name, query in VARIABLES.items():
        if f"${name}" in text:
            yield {"name": name, "label": name.capitalize(), "type": "query", "datasource": SOURCE,
                   "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "hide": 0,
                   "includeAll": True, "multi": True, "allValue": ".*", "options": [], "regex": "",
                   "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def thresholds(limits, low_is_bad):
    colours = ["red", "orange", "green"] if low_is_bad else ["green", "orange", "red"]
    return {"mode": "absolute", "steps": [{"color": colour, "value": value}
                                          for colour, value in zip(colours, [None, *limits])]}


def target(number, query, is_stat):
    expr, legend = query
    return {"refId": "ABC"[number], "datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend,
            "range": not is_stat, "instant": is_stat}


def drawn(what, number, place):
    is_stat = what["kind"] == "stat"
    defaults = {"unit": what["unit"], "thresholds": thresholds(what["limits"], what["low_is_bad"]), "mappings": []}
    if what["unit"] in ("percentunit", "ops", "short") and "Lateness" not in what["title"]:
        defaults["min"] = 0
    if what["top"]:
        defaults["max"] = what["top"]
    if is_stat:
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
                   "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto"}
    else:
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never",
                              "spanNulls": False, "thresholdsStyle": {"mode": "line" if what["limits"] else "off"}}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"id": number, "type": what["kind"], "title": what["title"], "description": what["about"],
            "datasource": SOURCE, "gridPos": place, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options, "targets": [target(n, query, is_stat) for n, query in enumerate(what["queries"])]}


def panels(rows):
    number, y = 0, 0
    for title, members in rows:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        y, x = y + 1, 0
        for what in members:
            number += 1
            width, height = (4, 4) if what["kind"] == "stat" else (24 if what["wide"] else 8, 8)
            if x + width > 24:
                x, y = 0, y + height
            yield drawn(what, number, {"x": x, "y": y, "w": width, "h": height})
            x += width
        y += height


def dashboard(name, title, rows):
    """A whole dashboard of rows of panels."""
    drawn_panels = list(panels(rows))
    fired = {"name": "Alerts", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": "red",
             "expr": 'ALERTS{alertstate="firing", severity!="info", escalation=""}', "step": "60s", "useValueForTime": False,
             "titleFormat": "{{alertname}}", "textFormat": "{{severity}} {{queue}}{{pool}}{{breaker}}{{instance}}",
             "tagKeys": "severity"}
    return {
        "uid": f"ganger-{name}", "title": f"Ganger: {title}", "tags": ["ganger"], "schemaVersion": 36, "version": 1,
        "editable": False, "graphTooltip": 1, "refresh": "30s", "timezone": "browser", "style": "dark", "id": None,
        "time": {"from": "now-3h", "to": "now"}, "timepicker": {}, "fiscalYearStartMonth": 0, "liveNow": False,
        "weekStart": "",
        "links": [{"type": "dashboards", "title": "Ganger", "tags": ["ganger"], "asDropdown": True, "includeVars": True,
                   "keepTime": True, "icon": "external link", "targetBlank": False, "tooltip": "", "url": ""}],
        "annotations": {"list": [fired]},
        "templating": {"list": list(variables(json.dumps(drawn_panels)))},
        "panels": drawn_panels,
    }

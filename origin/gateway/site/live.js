// Shows how this page reached the reader: the fields of a request for the page itself.
const box = document.getElementById("live");
const list = box.querySelector("dl");

async function ask() {
  const started = performance.now();
  const response = await fetch(location.pathname, { cache: "no-store", method: "HEAD" });
  const took = performance.now() - started;
  const [page] = performance.getEntriesByType("navigation");
  const rows = [
    ["protocol", page && page.nextHopProtocol],
    ["Cache-Status", response.headers.get("cache-status")],
    ["Age", response.headers.get("age") && response.headers.get("age") + " s"],
    ["Via", response.headers.get("via")],
    ["ETag", response.headers.get("etag")],
    ["answered in", took.toFixed(1) + " ms"],
  ];
  list.replaceChildren();
  for (const [name, value] of rows) {
    if (!value) continue;
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    list.append(dt, dd);
  }
  box.hidden = false;
}

box.querySelector("button").addEventListener("click", ask);
ask();

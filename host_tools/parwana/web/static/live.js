// Keep a house's page up to date: what the server sends when something changed.
const house = document.getElementById("house");
const before = { published: BigInt(house.dataset.published), due: house.dataset.due };
const steps = document.getElementById("progress");
const put = (id, text) => { const at = document.getElementById(id); if (at) at.firstChild.nodeValue = text; };
const done = step => steps?.querySelector(`[data-step=${step}]`)?.classList.add("done");
let locked = house.dataset.locked === "1", paid = locked;

new EventSource(house.dataset.live).onmessage = event => {
  const now = JSON.parse(event.data);
  put("power", `${Math.floor(now.power_dw / 10)} W`);
  put("counter", `${(now.energy_wh / 1000).toFixed(3)} kWh`);
  put("due", now.due_text);
  const pay = document.getElementById("pay");
  if (pay && now.due === "0") pay.hidden = true;
  const supply = document.getElementById("supply");
  if (supply) {
    supply.firstChild.nodeValue = now.closed ? house.dataset.on : house.dataset.off;
    supply.parentElement.className = `tile ${now.closed ? "good" : "bad"}`;
  }
  if (now.locked) { paid = true; if (steps) steps.hidden = false; done("sent"); done("locked"); }
  const published = BigInt(now.published) > before.published;
  if (published && paid) { done("sent"); done("locked"); done("permit"); }
  if (published && paid && now.accepted >= now.published && now.closed) {
    done("connected");
    house.dataset.settled = "1";
  }
};

// Judge what this server says by what meters signed and what a chain holds. The server is not
// believed: signatures and hashes are computed here, the chain is read from the reader's own node.
import { call, event, words } from "./abi.js";
import { bill, certain, digestOf, domainOf, leafRoot, parse, signerOf } from "./judge.js";

const page = document.getElementById("verify"), list = document.getElementById("checks");
const said = JSON.parse(page.dataset.words), { chain, registry, energy, payment, meter } = page.dataset;

function tell(good, key, more = "") {
  const item = document.createElement("li");
  item.className = good ? "good" : "bad";
  item.dataset.check = key;
  item.textContent = `${said[good ? key : key + "_not"] ?? key}${more && ` (${more})`}`;
  list.append(item);
  return good;
}

async function rpc(method, ...params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const url = sessionStorage.getItem("rpc");
  const answer = await (await fetch(url, { method: "POST", body,
    headers: { "Content-Type": "application/json" }, credentials: "omit", referrerPolicy: "no-referrer" })).json();
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
}

const view = async (to, name, ...values) => words(await rpc("eth_call", { to, data: call(name, ...values) }, "latest"));
const tariffs = async () => {
  const [count] = await view(payment, "tariff_count()"), found = [];
  for (let i = 0n; i < count; i++) {
    const w = await view(payment, "tariff(uint256)", i), base = Number(w[0]) / 32;
    const at = base + Number(w[base + 1]) / 32, slabs = [];
    for (let s = 0; s < Number(w[at]); s++) slabs.push([w[at + 1 + 2 * s], w[at + 2 + 2 * s]]);
    found.push({ from: w[base], slabs, fixed: w[base + 2] });
  }
  return found;
};

async function judge() {
  const evidence = await (await fetch(page.dataset.evidence)).json();
  if (!tell(BigInt(await rpc("eth_chainId")) === BigInt(chain), "chain")) return;
  const domain = domainOf(evidence.utility_id);
  tell(certain(await view(energy, "domain()"), domain), "domain");
  const place = await view(registry, "meter(address)", meter);
  if (!tell(place[1] > 0n, "enrolled", place[0])) return;

  const frames = [], forged = [];
  for (const { frame, signature } of evidence.frames) {
    const fields = { ...parse(frame), digest: digestOf(domain, frame) };
    let signer = "";
    try { signer = signerOf(fields.digest, signature); } catch { /* no signature at all */ }
    (signer === meter ? frames : forged).push(fields);
    row(fields, signer === meter);
  }
  tell(!forged.length, "signed", forged.length
    ? forged.map(one => `${said.sequence} ${one.sequence}`).join(", ") : frames.length);
  const readings = frames.filter(one => one.kind === 1);
  const falls = readings.filter((one, i) => i && one.energy < readings[i - 1].energy);
  tell(!falls.length, "rises", falls.map(one => one.sequence).join(", "));

  const [period, register, time] = await view(energy, "closing(address)", meter);
  const registers = new Set(readings.filter(one => one.closing).map(one => one.energy));
  if (time) tell(registers.has(register), "closing", `${period}: ${Number(register) / 1000} kWh`);
  await bills(evidence, registers, place[7] > 0n);
  await root(domain);
}

// A row for each reading that was shown, with what became of it
function row(fields, good) {
  const line = document.getElementById("frames").insertRow();
  line.className = good ? "" : "bad";
  const time = new Date(fields.time * 1000).toISOString().slice(0, 16).replace("T", " ");
  for (const text of [fields.sequence, time, `${Number(fields.energy) / 1000} kWh`, good ? said.good : said.forged]) {
    line.insertCell().textContent = text;
  }
}

async function bills(evidence, registers, replaced) {
  const known = evidence.bills.length ? await tariffs() : [];
  for (const one of evidence.bills) {
    const block = "0x" + BigInt(one.block).toString(16);
    const logs = await rpc("eth_getLogs", { address: payment, fromBlock: block, toBlock: block,
      topics: [event("Billed"), "0x" + meter.slice(2).padStart(64, "0")] });
    const told = logs.map(log => ({ period: BigInt(log.topics[3]), of: words(log.data) }))
      .find(log => log.period === BigInt(one.period));
    const same = told && told.of[0] === BigInt(one.periods) && told.of[1] === BigInt(one.energy_wh)
      && told.of[2] === BigInt(one.amount);
    const [periods, used, amount] = told?.of ?? [0n, 0n, 0n];
    const computed = bill(known, used, BigInt(one.period) - periods, periods);
    // What it billed is a difference of two registers that the meter signed; where it replaced
    // another, of two meters.
    const ends = evidence.closings.find(c => c.period === one.period);
    const before = evidence.closings.findLast(c => c.period < one.period);
    const [last, first] = [ends, before].map(c => c && BigInt(c.energy_wh));
    const measured = replaced || !ends || !before
      || (registers.has(last) && registers.has(first) && last - first === used);
    tell(Boolean(same && computed === amount && measured), "bill", `${one.period}: ${Number(used) / 1000} kWh`);
  }
}

async function root(domain) {
  const { proof, why } = await (await fetch(page.dataset.proof)).json();
  if (!proof) { tell(true, "no_root", why); return; }
  const digest = digestOf(domain, proof.frame);
  let good = proof.meter === meter;
  try { good &&= signerOf(digest, proof.signature) === meter; } catch { good = false; }
  good &&= leafRoot(digest, proof.index, proof.leaves, proof.path) === proof.root;
  const receipt = await rpc("eth_getTransactionReceipt", proof.transaction);
  const log = receipt?.logs.find(one => one.address.toLowerCase() === energy.toLowerCase()
    && one.topics[0] === event("DailyRoot") && BigInt(one.topics[1]) === 0n
    && BigInt(one.topics[2]) === BigInt(proof.day) && one.data.slice(0, 66) === proof.root);
  tell(Boolean(good && log), "root", `${said.sequence} ${parse(proof.frame).sequence}`);
}

document.getElementById("node").addEventListener("submit", submitted => {
  submitted.preventDefault();
  const url = new URL(submitted.target.elements.url.value);
  // The URL may hold a key of the reader's: only its origin is told to this server.
  sessionStorage.setItem("rpc", url.href);
  location.search = `?node=${encodeURIComponent(url.origin)}`;
});

if (page.dataset.node) {
  const url = sessionStorage.getItem("rpc") ?? page.dataset.node;
  sessionStorage.setItem("rpc", url);
  document.getElementById("node").elements.url.value = url;
  judge().catch(error => tell(false, "failed", error.message))
    .finally(() => { page.dataset.ended = list.querySelector(".bad") ? "bad" : "good"; });
}

// Pay with a wallet, and show how the payment goes on: lock, permit, connected.
import { call, words as unpacked } from "./abi.js";
import { account, offer, words } from "./wallets.js";

const place = document.getElementById("pay"), told = place.querySelector(".told");
const { chain, ledger, meter, token } = place.dataset, due = BigInt(place.dataset.due);
const steps = document.getElementById("progress");

function reached(step) {
  steps.hidden = false;
  steps.querySelector(`[data-step=${step}]`).classList.add("done");
}

async function send(provider, who, to, data, value) {
  const transaction = { from: who, to, data, ...(value ? { value: "0x" + value.toString(16) } : {}) };
  return provider.request({ method: "eth_sendTransaction", params: [transaction] });
}

const read = (provider, to, data) =>
  provider.request({ method: "eth_call", params: [{ to, data }, "latest"] });

async function mined(provider, hash) {
  for (let i = 0; i < 120; i++) {
    const receipt = await provider.request({ method: "eth_getTransactionReceipt", params: [hash] });
    if (receipt) return BigInt(receipt.status) === 1n;
    await new Promise(wake => setTimeout(wake, 1000));
  }
  return false;
}

async function pay(provider) {
  const who = await account(provider);
  const wanted = "0x" + BigInt(chain).toString(16);
  if (await provider.request({ method: "eth_chainId" }) !== wanted) {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: wanted }] });
  }
  // The wallet's own node says what is due: this server is not believed.
  const known = unpacked(await read(provider, ledger, call("account(address)", meter)));
  if (known[3] !== due) throw new Error(place.dataset.changed);
  if (token) {
    const allowed = unpacked(await read(provider, token, call("allowance(address,address)", who, ledger)))[0];
    if (allowed < due) {
      told.textContent = place.dataset.approve;
      const hash = await send(provider, who, token, call("approve(address,uint256)", ledger, due));
      if (!await mined(provider, hash)) throw new Error(place.dataset.failed);
    }
  }
  told.textContent = place.dataset.confirm;
  const hash = await send(provider, who, ledger, call("pay(address,uint256)", meter, due), token ? 0n : due);
  reached("sent");
  told.textContent = "";
  if (!await mined(provider, hash)) throw new Error(place.dataset.failed);
}

offer(place.querySelector(".wallets"), place.dataset.with, async provider => {
  const buttons = place.querySelectorAll(".wallets button");
  buttons.forEach(button => { button.disabled = true; });
  try {
    await pay(provider);
  } catch (error) {
    told.textContent = words(error);
    buttons.forEach(button => { button.disabled = false; });
  }
});

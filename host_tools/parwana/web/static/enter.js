// Sign in with the key that pays: the wallet signs what the server asks, once.
import { account, offer, words } from "./wallets.js";

const place = document.getElementById("enter"), told = place.querySelector(".told");
const post = (what, values) => fetch(place.dataset.at + what, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values),
});

offer(place.querySelector(".wallets"), place.dataset.with, async provider => {
  try {
    const who = await account(provider);
    const { nonce, text } = await (await post("/challenge", {})).json();
    const hex = "0x" + [...new TextEncoder().encode(text)].map(b => b.toString(16).padStart(2, "0")).join("");
    const signature = await provider.request({ method: "personal_sign", params: [hex, who] });
    const answer = await post("/enter", { nonce, signature });
    if (answer.ok) location.reload();
    else told.textContent = place.dataset.refused;
  } catch (error) {
    told.textContent = words(error);
  }
});

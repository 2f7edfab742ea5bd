// Find the wallets of this browser. Source: EIP-6963, EIP-1193
const found = new Map();
let tell = () => {};

addEventListener("eip6963:announceProvider", event => {
  found.set(event.detail.info.uuid, event.detail);
  tell();
});

// Fill an element with a button for each wallet; `use(provider, name)` is called with the chosen one.
export function offer(element, label, use) {
  tell = () => {
    element.hidden = !found.size;
    const none = element.parentElement.querySelector(".told.none");
    if (found.size && none) none.textContent = "";
    element.replaceChildren(...[...found.values()].map(({ info, provider }) => {
      const button = document.createElement("button");
      button.textContent = label.replace("%", info.name);
      button.addEventListener("click", () => use(provider, info.name));
      return button;
    }));
  };
  dispatchEvent(new Event("eip6963:requestProvider"));
  // A wallet of before EIP-6963
  setTimeout(() => {
    if (!found.size && window.ethereum) {
      const info = { uuid: "legacy", name: "wallet" };
      found.set(info.uuid, { info, provider: window.ethereum });
      tell();
    }
  }, 300);
  tell();
}

export async function account(provider) {
  const [first] = await provider.request({ method: "eth_requestAccounts" });
  return first;
}

// What a wallet refuses has words of its own.
export const words = error => error?.message ?? String(error);

// The few calls that pages make, as bytes. A test holds the selectors against the contracts.
export const SELECTORS = {
  "pay(address,uint256)": "c4076876",
  "account(address)": "73b9aa91",
  "approve(address,uint256)": "095ea7b3",
  "allowance(address,address)": "dd62ed3e",
};

const word = value => (typeof value === "bigint" || typeof value === "number"
  ? BigInt(value).toString(16) : value.toLowerCase().replace(/^0x/, "")).padStart(64, "0");

export const call = (signature, ...values) => "0x" + SELECTORS[signature] + values.map(word).join("");

// The words of 32 bytes of what a call returned.
export const words = data => (data.slice(2).match(/.{64}/g) ?? []).map(text => BigInt("0x" + text));

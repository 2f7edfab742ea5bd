// The few calls that pages make, as bytes. A test holds the selectors against the contracts.
export const SELECTORS = {
  "pay(address,uint256)": "c4076876",
  "account(address)": "73b9aa91",
  "approve(address,uint256)": "095ea7b3",
  "domain()": "c2fb26a6",
  "meter(address)": "d158cdd1",
  "closing(address)": "2dafb4d3",
  "tariff_count()": "6b751791",
  "tariff(uint256)": "16b51928",
  "allowance(address,address)": "dd62ed3e",
};

export const EVENTS = {
  "Billed": "0x439d4577ea9f86326626b156ecb99e41a7f1a3c20740da04dccdabf684eeeef6",
  "DailyRoot": "0xa87f91bde7fa350989468e4c04b9a9667c181d0d74a7efda3d748af8dfe4b6a9",
};
export const event = name => EVENTS[name];

const word = value => (typeof value === "bigint" || typeof value === "number"
  ? BigInt(value).toString(16) : value.toLowerCase().replace(/^0x/, "")).padStart(64, "0");

export const call = (signature, ...values) => "0x" + SELECTORS[signature] + values.map(word).join("");

// The words of 32 bytes of what a call returned.
export const words = data => (data.slice(2).match(/.{64}/g) ?? []).map(text => BigInt("0x" + text));

// The arithmetic of docs/protocol.md, sections 1 to 3 and 7, and of bills; no page, no network.
import { recoverPublicKey } from "/vendor/noble-secp256k1-3.2.0/index.js";
import { sha256 } from "/vendor/noble-hashes-2.4.0/sha2.js";
import { keccak_256 } from "/vendor/noble-hashes-2.4.0/sha3.js";

const encode = text => new TextEncoder().encode(text);
export const bytes = hex => Uint8Array.from(hex.replace(/^0x/, "").match(/../g) ?? [], b => parseInt(b, 16));
export const hex = data => "0x" + [...data].map(b => b.toString(16).padStart(2, "0")).join("");
const joined = (...parts) => Uint8Array.from(parts.flatMap(part => [...part]));

export const domainOf = utility => sha256(encode("parwana/reading/1" + utility));
export const digestOf = (domain, frame) => sha256(joined(domain, bytes(frame)));
export const certain = (word, domain) => word.length === 1 && word[0] === BigInt(hex(domain));

// The address whose key signed: r, then yParity in the first bit of s. Source: section 3
export function signerOf(digest, signature) {
  const given = bytes(signature);
  if (given.length !== 64) throw new Error("a signature has 64 bytes");
  const parity = given[32] >> 7;
  given[32] &= 0x7f;
  const key = recoverPublicKey(joined([parity], given), digest, { prehash: false, isCompressed: false });
  return hex(keccak_256(key.slice(1)).slice(12));
}

export function parse(frame) {
  const view = new DataView(bytes(frame).buffer);
  if (view.byteLength !== 40 || view.getUint8(0) !== 1) throw new Error("no frame of version 1");
  const kind = view.getUint8(1);
  return { kind, sequence: view.getUint32(4), time: view.getUint32(8), energy: view.getBigUint64(12),
    closing: kind === 1 && (view.getUint16(2) & 1) === 1 };
}

const above = (left, right) => sha256(joined([1], left, right));

// The root that a leaf and its path lead to. Source: RFC 9162, 2.1.3.2
export function leafRoot(digest, index, leaves, path) {
  let at = index, last = leaves - 1, node = sha256(joined([0], digest));
  if (index >= leaves) return "";
  for (const sibling of path.map(bytes)) {
    if (last === 0) return "";
    if (at % 2 || at === last) {
      node = above(sibling, node);
      while (at % 2 === 0 && at !== 0) { at = Math.floor(at / 2); last = Math.floor(last / 2); }
    } else {
      node = above(node, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 ? hex(node) : "";
}

const least = (...values) => values.reduce((a, b) => a < b ? a : b);

// The amount for the energy of the periods after `last`. Source: docs/contracts.md, Bill
export function bill(tariffs, energy, last, periods) {
  const first = last + least(periods, 1n);
  let left = energy, cost = 0n, stop = first + (periods > 1n ? periods : 1n);
  for (const tariff of [...tariffs].reverse()) {
    const start = tariff.from > first ? tariff.from : first;
    if (start >= stop) continue;
    const part = left * (stop - start) / (stop - first);
    let below = 0n;
    for (const [upto, price] of tariff.slabs) {
      const end = least(part, upto * (stop - start)), within = end > below ? end - below : 0n;
      cost += within * price;
      below += within;
    }
    if (periods) cost += tariff.fixed * (stop - start) * 1000n;
    left -= part;
    stop = start;
  }
  return cost / 1000n;
}

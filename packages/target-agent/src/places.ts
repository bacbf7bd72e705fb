/** Where in a machine's memory and on its disks the contents of a message belong. */
import { CodedError } from "@dejavm/base";
import type { BulkMessage, ControlMessageOf } from "@dejavm/protocol";

/** Throws E_PROTOCOL_MALFORMED for pages and chunks that the machine does not have. */
export function checkPlaces(message: BulkMessage, offer: ControlMessageOf<"offer">): void {
  const items: readonly (number | { readonly page: number } | { readonly disk: number })[] =
    "refs" in message ? message.refs : "pages" in message ? message.pages : message.chunks;
  const isThere = (item: (typeof items)[number]): boolean => {
    if (typeof item === "number") return item < offer.pageCount;
    return "page" in item ? item.page < offer.pageCount : item.disk < offer.disks.length;
  };
  if (items.every(isThere)) return;
  throw new CodedError("E_PROTOCOL_MALFORMED", `${message.kind} names what the machine has not`);
}

/** How many pages or chunks a message brings. */
export function contentsOf(message: BulkMessage): number {
  if ("refs" in message) return message.refs.length;
  return "pages" in message ? message.pages.length : message.chunks.length;
}

/** The pages below `count` that are not in the ascending list `pages`, ascending. */
export function otherPages(pages: Uint32Array, count: number): Uint32Array {
  const result = new Uint32Array(count - pages.length);
  let [at, next] = [0, 0];
  for (let page = 0; page < count; page++) {
    if (pages[next] === page) next++;
    else result[at++] = page;
  }
  return result;
}

/** Which buffers of a message between the threads are given away instead of copied. */
import type { VmReport } from "../reports.ts";
import type { VmRequest } from "../requests.ts";

/** Buffers of a report of the machine's thread. */
export function reportTransfers(report: VmReport): ArrayBuffer[] {
  switch (report.kind) {
    case "pages":
      return whole([report.bytes, report.pages, report.zeroPages]);
    case "chunks":
      return whole([report.bytes]);
    case "checkpoint-begun":
      return whole([report.pages]);
    case "segment":
      return whole([report.bytes]);
    default:
      return [];
  }
}

/** Buffers of a request to the machine's thread; segments belong to a store, and are small. */
export function requestTransfers(request: VmRequest): ArrayBuffer[] {
  switch (request.kind) {
    case "supply-pages":
    case "supply-chunks":
      return whole([request.bytes]);
    case "jump":
      return whole([...request.pages, ...request.chunks].map(({ bytes }) => bytes));
    default:
      return [];
  }
}

/** Views of a part are copied: the rest of their buffer belongs to somebody else. */
function whole(arrays: readonly (Uint8Array | Uint32Array)[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer, byteLength } of arrays) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffers.add(buffer);
  }
  return [...buffers];
}

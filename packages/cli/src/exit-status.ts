/** The statuses with which `dejavm` exits, besides a guest's own. */
export const exitStatus = {
  ok: 0,
  error: 1,
  usage: 2,
  /** `--max-instructions` was reached before the guest ended. */
  instructionLimit: 3,
  /** 128 and the signal's number, as shells have it. */
  interrupted: 130,
  terminated: 143,
} as const;

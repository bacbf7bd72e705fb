/** Progress on stderr: one line that is written over on a terminal, else a line per phase. */
import type { ImageProgress } from "@dejavm/image";

/** Shows what is being done. `done` leaves the cursor on a fresh line. */
export interface TextProgress {
  readonly show: (phase: string, text: string) => void;
  readonly done: () => void;
}

/** A progress line on `output`: of each phase the newest text on a terminal, else the first. */
export function textProgress(output: NodeJS.WriteStream): TextProgress {
  let lastPhase = "";
  let shown = false;
  return {
    show(phase, text) {
      if (output.isTTY) {
        output.write(`\r\x1b[K${text.slice(0, Math.max(20, output.columns - 1))}`);
        shown = true;
      } else if (phase !== lastPhase) {
        output.write(`${text}\n`);
      }
      lastPhase = phase;
    },
    done() {
      if (shown) output.write("\r\x1b[K");
      shown = false;
    },
  };
}

/** Shows what an image build does. `done` leaves the cursor on a fresh line. */
export interface ProgressLine {
  readonly show: (progress: ImageProgress) => void;
  readonly done: () => void;
}

/** A progress line on `output`. */
export function imageProgress(output: NodeJS.WriteStream): ProgressLine {
  const { show, done } = textProgress(output);
  return { show: (progress) => show(progress.phase, describe(progress)), done };
}

function describe(progress: ImageProgress): string {
  switch (progress.phase) {
    case "download": {
      const { package: number, packageCount, receivedBytes, totalBytes } = progress;
      const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
      const received = `${mib(receivedBytes)} of ${mib(totalBytes)} MiB`;
      return `download: package ${number}/${packageCount}, ${received}`;
    }
    case "unpack":
      return `unpack: ${progress.name}`;
    default:
      return `${progress.phase}: ${progress.message}`;
  }
}

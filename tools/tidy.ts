/**
 * Our own lint: what the compiler and oxlint cannot say about this workspace. Prints one line per
 * finding and ends with status 1 if one of them fails. The rules are in tools/tidy/.
 */
import path from "node:path";
import { checkWorkspace, formatFinding } from "./tidy/workspace.ts";

const findings = checkWorkspace(path.dirname(import.meta.dirname));
for (const finding of findings) process.stdout.write(`${formatFinding(finding)}\n`);
const failCount = findings.filter(({ level }) => level === "fail").length;
process.stdout.write(`tidy: ${failCount} failures, ${findings.length - failCount} notes\n`);
process.exitCode = failCount === 0 ? 0 : 1;

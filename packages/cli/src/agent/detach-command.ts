/** `dejavm run --detach`: a machine that the agent of this host runs. */
import { agentSocket, ControlClient, stateDirectory, vmSummarySchema } from "@dejavm/agent";
import { usageError } from "../errors.ts";
import { parseSize } from "../parse.ts";
import { type RunOptions, refuse } from "../run/options.ts";

/** Asks the agent to start a machine. Throws E_USAGE, E_AGENT_ABSENT, E_VM_*, E_IMAGE_*, ... */
export async function runDetached(image: string | undefined, options: RunOptions): Promise<void> {
  const { name, memory = "256M", append = "", disk, publish = [] } = options;
  if (name === undefined) throw usageError("cannot use --detach without a name", "give --name");
  const { kernel, initrd, firmware, elf, exec, from, save, net, pcap } = options;
  refuse("--detach", { "--kernel": kernel, "--initrd": initrd, "--firmware": firmware });
  refuse("--detach", { "--elf": elf, "--exec": exec, "--from": from, "--save": save });
  refuse("--detach", {
    "--net": net,
    "--pcap": pcap,
    "--max-instructions": options.maxInstructions,
  });
  const client = new ControlClient(agentSocket(stateDirectory(options.stateDir)));
  const summary = await client.ask({
    method: "POST",
    path: "/v1/vms",
    body: {
      name,
      image: image ?? "debian",
      memoryBytes: parseSize(memory, "--memory"),
      append,
      disks: disk,
      forwards: publish,
      netAllow: options.netAllow ?? [],
      netDeny: options.netDeny ?? [],
    },
    answer: vmSummarySchema,
  });
  if (options.json === true) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else process.stderr.write(`${name} runs; dejavm console ${name} attaches to it\n`);
}

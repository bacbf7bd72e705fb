import { expect, test } from "vitest";
import { parseResolvConf } from "./resolvers.ts";

test("resolv.conf: the first three name servers, whatever else stands there", () => {
  const text = `# a comment
search example.org
nameserver 192.0.2.1
 nameserver\t2001:db8::1
nameserver localhost
nameserver fe80::1%eth0
nameserver 192.0.2.4
options rotate`;
  const hosts = ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"];
  expect(parseResolvConf(text)).toEqual(hosts.map((host) => ({ host, port: 53 })));
  expect(parseResolvConf("")).toEqual([]);
});

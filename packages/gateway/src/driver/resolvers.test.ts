import { expect, test } from "vitest";
import { parseResolvConf, parseResolver } from "./resolvers.ts";

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

test.each([
  ["192.0.2.1", { host: "192.0.2.1", port: 53 }],
  ["127.0.0.1:5353", { host: "127.0.0.1", port: 5353 }],
  ["2001:db8::1", { host: "2001:db8::1", port: 53 }],
  ["[2001:db8::1]:54", { host: "2001:db8::1", port: 54 }],
])("%s is a DNS server", (text, resolver) => expect(parseResolver(text)).toEqual(resolver));

test.each(["", "example.org", "1.2.3.4:0", "1.2.3.4:99999", "[1.2.3.4"])("%j is none", (text) => {
  expect(() => parseResolver(text)).toThrow("DNS server");
});

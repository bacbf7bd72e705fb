/** Constants of Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC 792), UDP (RFC 768). */

export const ETHERNET_BYTES = 14;
export const MAC_BYTES = 6;
export const ETHER_TYPE = { Ipv4: 0x0800, Arp: 0x0806, Ipv6: 0x86dd } as const;
/** Headers are padded to this on real wires, so guests may pad, too. */
export const MIN_WIRE_BYTES = 60;

export const IPV4_BYTES = 20;
export const IPV4_MAX_BYTES = 65_535;
export const PROTOCOL = { Icmp: 1, Tcp: 6, Udp: 17 } as const;
export const IPV4_FLAG = { DontFragment: 0x4000, MoreFragments: 0x2000 } as const;
export const FRAGMENT_OFFSET_MASK = 0x1fff;
export const FRAGMENT_UNIT_BYTES = 8;
export const DEFAULT_TTL = 64;

export const UDP_BYTES = 8;
export const UDP_MAX_PAYLOAD_BYTES = 65_507;

export const ICMP_BYTES = 8;
export const ICMP = { EchoReply: 0, Unreachable: 3, Echo: 8 } as const;
export const UNREACHABLE = { Host: 1, Port: 3, Prohibited: 13 } as const;

export const ARP_BYTES = 28;
export const ARP = { Ethernet: 1, Request: 1, Reply: 2 } as const;

export const PORT = { Dns: 53, DhcpServer: 67, DhcpClient: 68 } as const;

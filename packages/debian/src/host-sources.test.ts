import { describe, expect, test } from "vitest";
import {
  chooseMirror,
  DEFAULT_MIRROR,
  hostMirror,
  parseDeb822,
  parseOneLine,
} from "./host-sources.ts";

const DEB822 = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 /usr/share/keyrings/debian-archive-keyring.gpg
`;

describe("the host's apt sources", () => {
  test("deb822: fields with continuation lines, disabled stanzas left out", () => {
    const sources = parseDeb822(DEB822);
    expect(sources.map((each) => each.uris)).toEqual([
      ["http://mirror.example/debian/"],
      ["http://security.example/debian-security"],
    ]);
    expect(sources[0]?.types).toEqual(["deb", "deb-src"]);
    expect(sources[1]?.signedBy).toBe("/usr/share/keyrings/debian-archive-keyring.gpg");
  });

  test("one-line: options, several components, comments", () => {
    const text = `# deb http://no.example/debian trixie main
deb [arch=amd64 signed-by=/k.gpg] https://a.example/debian bookworm main contrib # why
deb-src https://a.example/debian bookworm main`;
    expect(parseOneLine(text)).toEqual([
      {
        types: ["deb"],
        uris: ["https://a.example/debian"],
        suites: ["bookworm"],
        components: ["main", "contrib"],
        signedBy: "/k.gpg",
      },
      {
        types: ["deb-src"],
        uris: ["https://a.example/debian"],
        suites: ["bookworm"],
        components: ["main"],
        signedBy: undefined,
      },
    ]);
  });

  test("the mirror is the main archive's, never security's or a third party's", () => {
    const others = parseOneLine(`deb https://deb.example/node_20.x nodistro main
deb [signed-by=/x/google.gpg] https://packages.example/apt cloud main
deb http://archive.ubuntu.example/ubuntu noble main
deb http://security.example/debian-security bookworm-security main
deb http://mirror.example/debian bookworm-updates main`);
    expect(chooseMirror(others)).toBe(DEFAULT_MIRROR);
    expect(chooseMirror([...others, ...parseDeb822(DEB822)])).toBe("http://mirror.example/debian");
  });

  test("a mirror named in the environment goes before all others", async () => {
    const env = { DEJAVM_DEBIAN_MIRROR: "http://mine.example/debian/" };
    expect(await hostMirror("/nonexistent", env)).toBe("http://mine.example/debian");
    expect(await hostMirror("/nonexistent", {})).toBe(DEFAULT_MIRROR);
  });
});

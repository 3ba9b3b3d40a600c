package header_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/header"
)

func TestFirewall(t *testing.T) {
	fields := []string{
		"Received: x\r\n", "Resent-From: a@example.com\r\n", "resent-x: y\r\n",
		"X-MS-Exchange-Organization-AuthAs: Internal\r\n", "x-ms-exchange-ORGANIZATION-\x01: y\r\n",
		"X-Postern-Organization-A: y\r\n",
		"X-MS-Exchange-Forest-A: y\r\n",
		"Bcc: a@example.com\r\n", "resent-bcc: a@example.com\r\n",
		"From: a@example.com\r\n", "X-MS-Exchange-Organizations: y\r\n", "Xyz: y\r\n", "Bcd: y\r\n",
	}
	for _, c := range []struct {
		name string
		wall header.Firewall
		gone []int
	}{
		{"none", header.Firewall{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"routing", header.Firewall{Routing: true}, []int{3, 4, 5, 6, 7, 8}},
		{"organization", header.Firewall{Organization: true}, []int{0, 1, 2, 6, 7, 8}},
		{"forest", header.Firewall{Forest: true}, []int{0, 1, 2, 3, 4, 5, 7, 8}},
		{"all", header.Firewall{Routing: true, Organization: true, Forest: true}, []int{7, 8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := parse(t, strings.Join(fields, "")+"\r\n")
			want := append([]string(nil), fields...)
			for _, i := range c.gone {
				want[i] = ""
			}
			if n := c.wall.Apply(h); n != len(c.gone) {
				t.Errorf("removed %d, want %d", n, len(c.gone))
			}
			if got := string(h.Bytes()); got != strings.Join(want, "")+"\r\n" {
				t.Errorf("left %q", got)
			}
		})
	}
}

func TestFirewallOwnResults(t *testing.T) {
	wall := header.Firewall{Own: func(id string) bool { return id == "relay.example.com" }}
	for value, gone := range map[string]bool{
		" relay.example.com; dkim=pass": true, "relay.example.com 1; none": true,
		"\r\n\trelay.example.com;": true, " relay.example.com": true,
		" (a (b) \\) c) (d)\r\n relay.example.com(x); none": true,
		" \"relay.example.com\"; none":                      true,
		" \"relay\\.example.com\" 1;":                       true,
		" example.com; none":                                false,
		" mx.relay.example.com; none":                       false,
		" (relay.example.com) example.com; none":            false,
		" example.com; relay.example.com":                   false,
		"":                                                  false, " (relay.example.com": false,
		" \"relay.example.com": false, ";": false,
	} {
		for _, name := range []string{"Authentication-Results:", "AUTHENTICATION-results :",
			"Authentication-Results\r\n :"} {
			h := parse(t, "A: b\r\n"+name+value+"\r\n\r\n")
			if n := wall.Apply(h); n == 1 != gone {
				t.Errorf("%q: removed %d", name+value, n)
			}
			h = parse(t, "A: b\r\n"+name+value+"\r\n\r\n")
			if n := (header.Firewall{}).Apply(h); n != 0 {
				t.Errorf("%q: removed %d by a firewall of nobody", name+value, n)
			}
		}
	}
}

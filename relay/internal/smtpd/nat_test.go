package smtpd_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// logged is a log that tests read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) warnings() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), "many different clients may relay")
}

// TestNATGuard is trap T7: a router that rewrites addresses makes everybody
// behind it look like one host of the network.
func TestNATGuard(t *testing.T) {
	const gateway, host = "192.0.2.254:1", "192.0.2.7:1"
	greet := func(r *rig, from, helo string) string {
		p := r.dial(from)
		defer p.Close()
		if s, err := p.Line(); err != nil || !strings.HasPrefix(s, "220 ") {
			return s
		}
		p.Say("HELO " + helo)
		s, _ := p.Line()
		return s
	}
	for _, test := range []struct {
		name          string
		watch, refuse bool
		from          string
		c             *connector.Connector
		warn          int
	}{
		{"a gateway in a range that may relay", true, false, gateway, relaying("192.0.2.0/24"), 1},
		{"refused", true, true, gateway, relaying("192.0.2.0/24"), 1},
		{"not watched", false, false, gateway, relaying("192.0.2.0/24"), 0},
		{"a host", true, true, host, relaying("192.0.2.0/24"), 0},
		{"no relaying", true, true, gateway, open(), 0},
		{
			"a host that may use XCLIENT, and does not", true, true, "192.0.2.8:1",
			relaying("192.0.2.0/24"), 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &logged{}
			bubbleWith(t, func(cfg *smtpd.Config) {
				cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
				cfg.Settings.WatchNAT, cfg.Settings.RefuseNAT = test.watch, test.refuse
				cfg.Settings.XClient = []connector.Range{connector.MustParseRange("192.0.2.8")}
				list := []netip.Addr{netip.MustParseAddr("192.0.2.254")}
				cfg.Gateways = func() []netip.Addr {
					defer func() { list = nil }() // what cannot be read again is not forgotten
					return list
				}
			}, func(t *testing.T, r *rig) {
				// One name, many times, is one host.
				for range 3 * smtpd.CrowdNames {
					if s := greet(r, test.from, "Host"); !strings.HasPrefix(s, "250 ") {
						t.Fatal(s)
					}
				}
				refused := 0
				for i := range 2 * smtpd.CrowdNames {
					if s := greet(r, test.from, fmt.Sprint("host", i)); strings.HasPrefix(
						s, "421 4.7.1 Too many different clients",
					) {
						refused++
					} else if !strings.HasPrefix(s, "250 ") {
						t.Fatal(s)
					}
				}
				if n := log.warnings(); n != test.warn {
					t.Errorf("%d warnings, want %d", n, test.warn)
				}
				if (refused > 0) != (test.refuse && test.warn > 0) {
					t.Errorf("%d refused", refused)
				}
				// Others are served.
				if s := greet(r, "192.0.2.9:1", "host"); !strings.HasPrefix(s, "250 ") {
					t.Error(s)
				}
				// After an hour the address is given another chance.
				time.Sleep(time.Hour)
				for i := range smtpd.CrowdNames - 1 {
					if s := greet(
						r, test.from, fmt.Sprint("next", i),
					); !strings.HasPrefix(s, "250 ") {
						t.Error(s)
					}
				}
				if n := log.warnings(); n != test.warn {
					t.Errorf("%d warnings an hour later, want %d", n, test.warn)
				}
				greet(r, test.from, "last")
				if n := log.warnings(); n != 2*test.warn {
					t.Errorf("%d warnings after the next crowd, want %d", n, 2*test.warn)
				}
			}, test.c)
		})
	}
}

// The same for a proxy that does not tell for whom it speaks; those it tells of
// are not counted.
func TestNATGuardBehindProxy(t *testing.T) {
	log := &logged{}
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		cfg.Settings.WatchNAT = true
		cfg.Settings.Proxies = []connector.Range{connector.MustParseRange("192.0.2.7")}
	}, func(t *testing.T, r *rig) {
		for i, header := range []string{
			"PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n", "PROXY UNKNOWN\r\n",
		} {
			for j := range smtpd.CrowdNames {
				p := r.client()
				p.Send(header)
				p.Expect("220 *")
				p.Say(fmt.Sprint("HELO host", j))
				p.Expect("250 *")
				p.Close()
			}
			if n := log.warnings(); n != i {
				t.Errorf("%q: %d warnings", header, n)
			}
		}
	}, relaying("192.0.2.0/24"))
}

// Many addresses are not watched without end, and users who log on not at all.
func TestNATGuardIsBounded(t *testing.T) {
	log := &logged{}
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		cfg.Settings.WatchNAT = true
		cfg.Settings.XClient = []connector.Range{connector.MustParseRange("10.0.0.0/8")}
	}, func(t *testing.T, r *rig) {
		for i := range smtpd.MaxCrowds {
			p := r.dial(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
			p.Expect("220 *")
			p.Say("HELO a")
			p.Expect("250 *")
			p.Close()
		}
		crowd := func() {
			for i := range smtpd.CrowdNames {
				p := r.dial("10.1.1.1:1")
				p.Expect("220 *")
				p.Say(fmt.Sprint("HELO host", i))
				p.Expect("250 *")
				p.Close()
			}
		}
		if crowd(); log.warnings() != 0 {
			t.Error("more addresses are watched than there is room for")
		}
		time.Sleep(time.Hour)
		if crowd(); log.warnings() != 1 {
			t.Error("room is not made again")
		}
		p := r.dial("10.1.1.2:1")
		p.Expect("220 *")
		p.Say("EHLO a", "AUTH PLAIN AGFsaWNlAHNlY3JldA==")
		for range 12 {
			p.Expect("250*")
		}
		p.Expect("235 *")
		for i := range smtpd.CrowdNames {
			p.Say(fmt.Sprint("HELO host", i))
			p.Expect("250 *")
		}
		if log.warnings() != 1 {
			t.Error("a user is taken for a crowd")
		}
	}, func() *connector.Connector {
		c := relaying("10.0.0.0/8")
		c.AuthMechanisms = connector.BasicAuth
		return c
	}())
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	const four = "Iface\tDestination\tGateway " +
		"\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		// 172.17.0.1 on a machine that counts from the low end
		"eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n" + // no gateway
		"tun1\t00000000\t0100000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n" + // half of everything
		"eth0\tzz\n"
	got := fmt.Sprint(smtpd.ParseRoutes(strings.NewReader(four), false))
	if got != "[172.17.0.1]" && got != "[1.0.17.172]" {
		t.Error(got)
	}
	const zero = "00000000000000000000000000000000"
	const six = zero + " 00 " + zero +
		" 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200       lo\n" +
		"20010db8000000000000000000000000 40 " + zero +
		" 00 fe800000000000000000000000000002 00000100 00000001 00000000 00000003     eth0\n" +
		zero + " 00 " + zero + " 00 zz 00000400 00000001 00000000 00000003     eth0\n" +
		zero + " 00 " + zero + " 00 00000001 00000400 00000001 00000000 00000003     eth0\n" +
		zero + " 00 " + zero + " 00 fe80 00000400 00000001 00000000 00000003     eth0\n"
	if got := fmt.Sprint(smtpd.ParseRoutes(strings.NewReader(six), true)); got != "[fe80::1]" {
		t.Error(got)
	}
	for _, a := range smtpd.DefaultGateways() { // whatever they are on this machine
		if !a.IsValid() || a.IsUnspecified() {
			t.Error(a)
		}
	}
}

func FuzzRoutes(f *testing.F) {
	f.Add("eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", false)
	f.Add(
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 "+
			"fe800000000000000000000000000001 0 0 0 3 eth0\n",
		true,
	)
	f.Fuzz(func(t *testing.T, s string, six bool) {
		for _, a := range smtpd.ParseRoutes(strings.NewReader(s), six) {
			if a.Is4() == six || a.IsUnspecified() {
				t.Fatal(a)
			}
		}
	})
}

package main

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	got := median([]figures{{1, 30, 2, 5}, {3, 10, 2, 4}, {2, 20, 9, 6}})
	if want := (figures{2, 20, 2, 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestBarsAreJudged has bars for a figure and for a ratio, whoever is measured.
func TestBarsAreJudged(t *testing.T) {
	t.Parallel()
	bars := []bar{timesPostfix(3), {name: "alone", figure: accepted, least: 100}}
	for _, tc := range []struct {
		servers string
		medians []figures
		want    string
		missed  bool
	}{
		{"gateway,postfix", []figures{{100, 40}, {1, 10}}, "4, at least 3: reached", false},
		{"postfix,gateway", []figures{{1, 10}, {100, 20}}, "2, at least 3: MISSED", true},
		{"gateway", []figures{{99, 40}}, "alone: 99, at least 100: MISSED", true},
		{"gateway,postfix", []figures{{100, 40}, {1, 0}}, "0, at least 3: MISSED", true},
		{"postfix", []figures{{1, 10}}, "", false},
	} {
		var out strings.Builder
		b := &bench{options: options{servers: strings.Split(tc.servers, ",")}, out: &out}
		b.judge(bars, tc.medians)
		if !strings.Contains(out.String(), tc.want) || b.missed != tc.missed {
			t.Errorf("%s: missed %v, printed %s", tc.servers, b.missed, out.String())
		}
	}
}

// TestScenariosAreKnown sees that each scenario has one name, and that a wrong
// one is refused before anything runs.
func TestScenariosAreKnown(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, key := range keys() {
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	if _, err := parse([]string{"-scenario", "b,nothing"}); err == nil {
		t.Error("nothing is a scenario")
	}
	o, err := parse([]string{"-quick", "-scale", "2"})
	if err != nil || o.rounds != 1 || o.scale != 0.2 || len(o.scenarios) != len(keys()) {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestEachDomainHasAnExchanger asks for what the servers ask.
func TestEachDomainHasAnExchanger(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]string{
		domainOf(0): "127.54.0.1", domainOf(17): "127.54.0.2", deadOf(100): "127.54.255.1",
		"stall3.example.net": "127.54.1.4", "slow7.example.net": slowHost, "x.example.net": "",
	} {
		var got string
		for _, mx := range places(crowdPlaces).records(domain+".", dns.TypeMX) {
			host := mx.(*dns.MX).Mx
			for _, a := range places(crowdPlaces).records(host, dns.TypeA) {
				got = a.(*dns.A).A.String()
			}
		}
		if got != want {
			t.Errorf("%s is at %q, want %q", domain, got, want)
		}
	}
}

// TestStopwatchCountsItsOwn lets mail arrive that is not of the trickle, twice,
// or never.
func TestStopwatchCountsItsOwn(t *testing.T) {
	t.Parallel()
	w := newStopwatch(3)
	for i := range 3 {
		w.sent(i)
	}
	w.arrived([]string{"r1@d1.example.net", "t7@d1.example.net", "t@d1.example.net"})
	w.arrived([]string{"t0@d0.example.net", "t2@d2.example.net"})
	w.arrived([]string{"t2@d2.example.net"})
	if w.missing() != 1 {
		t.Errorf("%d are missing", w.missing())
	}
	d := w.delays()
	if d.never != 1 || len(d.ms) != 3 || d.at(1) < d.at(0.5) || d.at(0.5) < d.at(0) {
		t.Errorf("%+v", d)
	}
}

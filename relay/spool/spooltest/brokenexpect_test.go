package spooltest_test

import (
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// expectBreaks are the rules that a store that is an Expecter may break, and
// the cases that must see it.
func expectBreaks() map[string]struct {
	breaks breaks
	sees   []string
} {
	return map[string]struct {
		breaks breaks
		sees   []string
	}{
		"leases what is on hold":  {breaks{holds: true}, []string{"ExpectNot"}},
		"leases what is not due":  {breaks{early: true}, []string{"ExpectNot"}},
		"leases what is not told": {breaks{any: true}, []string{"ExpectNot"}},
		"leases more than Max":    {breaks{more: true}, []string{"ExpectNot", "ExpectMax"}},
		"leases before older":     {breaks{first: true}, []string{"ExpectOrder"}},
		"hands out after newer":   {breaks{last: true}, []string{"ExpectOrder"}},
		"leases too short":        {breaks{short: true}, []string{"ExpectTTL"}},
		"hands out to anybody":    {breaks{unwanted: true}, []string{"ExpectLimits"}},
		"forgets sizes":           {breaks{forgets: true}, []string{"ExpectContents"}},
		"hands out twice": {
			breaks{twice: true}, []string{"ExpectOnce", "ExpectHeld", "ExpectSettle"},
		},
		"never gives back": {breaks{never: true}, []string{"ExpectTTL"}},
	}
}

// brokenExpecters are those in memory.
func brokenExpecters() map[string]brokenStore {
	list := make(map[string]brokenStore)
	for name, b := range expectBreaks() {
		list["expects, "+name] = brokenStore{func() spool.Store {
			return &expecter{queue: memspool.New(nil), breaks: b.breaks}
		}, b.sees}
	}
	list["expects, never wakes"] = brokenStore{func() spool.Store {
		return neverWakesExpecter{&expecter{queue: memspool.New(nil)}}
	}, []string{"ExpectWake"}}
	return list
}

type neverWakesExpecter struct{ *expecter }

func (neverWakesExpecter) Wake() <-chan struct{} { return nil }

// brokenExpecterPairs are two nodes.
func brokenExpecterPairs() map[string]brokenPair {
	list := map[string]brokenPair{
		"expects, keeps what waits": {
			func() spooltest.Served { return expectingPair(breaks{keeps: true, never: true}) },
			[]string{"ExpectCloses"},
		},
		"expects, gives nothing to the other": {
			func() spooltest.Served { return expectingPair(breaks{never: true}) },
			[]string{"ExpectUnasked", "ExpectMax", "ExpectTTL", "ExpectWake"},
		},
	}
	for name, b := range expectBreaks() {
		list["expects, "+name] = brokenPair{
			func() spooltest.Served { return expectingPair(b.breaks) }, b.sees,
		}
	}
	return list
}

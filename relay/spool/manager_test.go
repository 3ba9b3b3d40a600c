package spool_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/spool"
)

func TestStateText(t *testing.T) {
	for s, want := range map[spool.State]string{
		0: "", spool.StateWaiting: "waiting", spool.StateLeased: "leased", spool.StateHeld: "held",
		spool.StatePoison: "poison",
	} {
		b, err := s.MarshalText()
		if err != nil || string(b) != want || s.String() != want {
			t.Errorf("%q, %q, %v, want %q", b, s.String(), err, want)
		}
		var got spool.State
		if err := got.UnmarshalText(b); err != nil || got != s {
			t.Errorf("%q is %v, %v", b, got, err)
		}
	}
	if _, err := spool.State(9).MarshalText(); err == nil {
		t.Error("a value that is no state has a text")
	}
	var s spool.State
	if s.UnmarshalText([]byte("lost")) == nil {
		t.Error("a word that is no state is read")
	}
}

func TestQueryMatches(t *testing.T) {
	k := spool.Key{Route: "out", Domain: "example.com", Stream: "news"}
	for _, c := range []struct {
		q    spool.Query
		want bool
	}{
		{spool.Query{}, true},
		{spool.Query{State: spool.StateHeld}, true},
		{spool.Query{State: spool.StateLeased}, false},
		{spool.Query{Key: spool.Key{Route: "out"}}, true},
		{spool.Query{Key: spool.Key{Domain: "example.com", Stream: "news"}}, true},
		{spool.Query{Key: spool.Key{Route: "out", Stream: "mail"}}, false},
	} {
		if got := c.q.Matches(k, spool.StateHeld); got != c.want {
			t.Errorf("%+v: %v", c.q, got)
		}
	}
}

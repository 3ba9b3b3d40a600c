package relay_test

import (
	"testing"

	"github.com/postern-mail/postern/relay"
)

func TestRouteText(t *testing.T) {
	for text, want := range map[string]relay.Route{
		"":                   {},
		"mailbox":            {Kind: relay.ToMailbox},
		"transport":          {Kind: relay.ToTransport},
		"send/out/2":         {Kind: relay.ToConnector, Connector: "out/2"},
		"mx/example.com/out": {Kind: relay.ToMX, Domain: "example.com", Connector: "out"},
		"resolve":            {Kind: relay.AskedLater},
		"unreachable":        {Kind: relay.Unreachable},
		"toolarge":           {Kind: relay.TooLarge},
	} {
		var got relay.Route
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if back, err := got.MarshalText(); err != nil || string(back) != text {
			t.Errorf("%q came back as %q, %v", text, back, err)
		}
	}
	for _, text := range []string{"nowhere", "send", "mx", "mx/example.com", "mailbox/x", "/"} {
		if err := new(relay.Route).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a route", text)
		}
	}
}

func TestResolutionText(t *testing.T) {
	for r := relay.NotAsked; r <= relay.LookupFailed; r++ {
		text, _ := r.MarshalText()
		var back relay.Resolution
		if err := back.UnmarshalText(text); err != nil || back != r {
			t.Errorf("%q: %v, %v", text, back, err)
		}
	}
	if err := new(relay.Resolution).UnmarshalText([]byte("perhaps")); err == nil {
		t.Error("perhaps is a resolution")
	}
}

func TestPressureLevelText(t *testing.T) {
	for l := relay.NormalPressure; l <= relay.HighPressure; l++ {
		text, _ := l.MarshalText()
		var back relay.PressureLevel
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Errorf("%q: %v, %v", text, back, err)
		}
	}
	if err := new(relay.PressureLevel).UnmarshalText([]byte("huge")); err == nil {
		t.Error("huge is a level")
	}
}

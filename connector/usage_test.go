package connector_test

import (
	"fmt"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

func TestUsagePresets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		usage                          Usage
		groups, auth, bindings, ranges string
		limits                         Limits
		anonymous, user                Right
	}{
		{Client, "ExchangeUsers", "Tls, BasicAuth, BasicAuthRequireTLS, Integrated",
			"[0.0.0.0:587 [::]:587]", "[]",
			Limits{MessageRate: 5, MessageRateBy: RateByUser}, 0, ExchangeUsers.Rights()},
		{Custom, "None", "Tls", "[]", "[]", Limits{}, 0, 0},
		{
			Internal, "ExchangeServers, ExchangeLegacyServers", "Tls, ExchangeServer",
			"[0.0.0.0:25 [::]:25]", "[]", Limits{}, 0, 0,
		},
		{
			Internet, "AnonymousUsers", "Tls", "[]", "[0.0.0.0/0]", Limits{},
			AnonymousUsers.Rights(), 0,
		},
		{Partner, "Partners", "Tls", "[]", "[]", Limits{}, 0, 0},
		{Usage(99), "None", "Tls", "[]", "[]", Limits{}, 0, 0},
	} {
		t.Run(test.usage.String(), func(t *testing.T) {
			t.Parallel()
			c := New("a name", test.usage)
			got := fmt.Sprintln(
				c.Name, c.Usage, c.PermissionGroups, c.AuthMechanisms, c.Bindings, c.RemoteIPRanges,
				c.Limits,
			)
			want := fmt.Sprintln(
				"a name", test.usage, test.groups, test.auth, test.bindings, test.ranges,
				test.limits,
			)
			if got != want {
				t.Errorf("got  %swant %s", got, want)
			}
			if got := c.Rights(Subject{}); got != test.anonymous {
				t.Errorf("anonymous has %s", got)
			}
			if got := c.Rights(Subject{Authenticated: true, User: "alice"}); got != test.user {
				t.Errorf("a user has %s", got)
			}
		})
	}
}

// TestUsageIsALabel changes the usage behind a preset: no right may change with
// it.
func TestUsageIsALabel(t *testing.T) {
	t.Parallel()
	peers := []Subject{
		{}, {Authenticated: true, User: "alice"}, {Partner: "contoso.com", TLS: true},
	}
	usages := []Usage{Client, Custom, Internal, Internet, Partner}
	for _, u := range usages {
		c := New("c", u)
		for _, p := range peers {
			want := c.Rights(p)
			for _, label := range usages {
				other := *c
				other.Usage = label
				if got := other.Rights(p); got != want {
					t.Errorf("%s labelled %s: %s, want %s", u, label, got, want)
				}
			}
		}
	}
}

func TestAnonymousRelay(t *testing.T) {
	t.Parallel()
	ranges := []Range{MustParseRange("10.1.2.0/24")}
	c := AnonymousRelay("apps", ranges...)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := c.Rights(Subject{}); got != AnonymousUsers.Rights()|AcceptAnyRecipient {
		t.Errorf("anonymous has %s", got)
	}
	if got := c.Rights(Subject{Authenticated: true}); got != 0 {
		t.Errorf("a user has %s", got)
	}
	if c.Usage != Custom || c.AuthMechanisms != TLS || c.RequireTLS ||
		fmt.Sprint(c.Bindings) != "[0.0.0.0:25 [::]:25]" {
		t.Errorf("%+v", c)
	}
	if l := c.Limits.WithDefaults(c.Usage); l.MaxConnectionsPerSource != -1 ||
		l.MaxConnectionsPercentPerSource != -1 || l.ConnectionRate != -1 ||
		l.MaxConnections != 5000 {
		t.Errorf("limits %+v", l)
	}
	for _, c := range []*Connector{FromInternet("mx"), Submission("users"), New("custom", Custom)} {
		l := c.Limits.WithDefaults(c.Usage)
		if l.MaxConnectionsPerSource != 20 || l.MaxConnectionsPercentPerSource != 2 {
			t.Errorf("%s: limits %+v", c.Name, l)
		}
	}
	ranges[0] = AllIPv4()
	if c.RemoteIPRanges[0] == AllIPv4() {
		t.Error("shares the caller's slice")
	}
	wantFaults(
		t, AnonymousRelay("apps").Validate(),
		"RemoteIPRanges: missing; list the remote addresses the connector is for",
	)
}

func TestFromInternet(t *testing.T) {
	t.Parallel()
	c := FromInternet("mx")
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := c.Rights(Subject{}); got != AnonymousUsers.Rights()&^AcceptAuthoritativeDomainSender {
		t.Errorf("anonymous has %s", got)
	}
}

func TestSubmission(t *testing.T) {
	t.Parallel()
	c := Submission("users")
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.Usage != Client ||
		fmt.Sprint(c.Bindings, c.RemoteIPRanges) != "[0.0.0.0:587 [::]:587] [0.0.0.0/0 ::/0]" ||
		!c.AuthMechanisms.Has(BasicAuthRequireTLS) {
		t.Errorf("%+v", c)
	}
	if got := c.Limits.WithDefaults(c.Usage).MessageRate; got != -1 {
		t.Errorf("message rate %d", got)
	}
	if got := c.Rights(Subject{TLS: true}); got != 0 {
		t.Errorf("anonymous has %s", got)
	}
	if got := c.Rights(
		Subject{Authenticated: true, User: "alice", TLS: true},
	); !got.Has(Submit | AcceptAnyRecipient) {
		t.Errorf("a user has %s", got)
	}
	c.ImplicitTLS = true
	c.Bindings = bindings("0.0.0.0:465")
	if err := c.Validate(); err != nil {
		t.Errorf("implicit TLS: %v", err)
	}
}

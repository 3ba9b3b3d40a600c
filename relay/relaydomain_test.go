package relay_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestRelayDomainsWithoutRoute tells of relay domains that no send connector
// leads to, beside the faults of other domains.
func TestRelayDomainsWithoutRoute(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "a.test"},
			{Domain: "*.Bücher.test", Type: domains.ExternalRelay},
			{Domain: "a b", Type: domains.InternalRelay},
			{Domain: "c.test", Type: 9},
		},
	})
	for want, n := range map[string]int{
		"AcceptedDomains[0].Recipients: must":                            1,
		"AcceptedDomains[0].Type":                                        0,
		"AcceptedDomains[1].Type: *.xn--bcher-kva.test is ExternalRelay": 1,
		"AcceptedDomains[2].Domain":                                      1,
		"AcceptedDomains[2].Type":                                        0,
		"AcceptedDomains[3].Type: unknown":                               1,
		"no send connector":                                              1,
	} {
		if err == nil || strings.Count(err.Error(), want) != n {
			t.Errorf("%q is not there %d times in %v", want, n, err)
		}
	}
}

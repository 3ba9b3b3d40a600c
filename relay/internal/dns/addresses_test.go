package dns_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/dns"
)

// IPv6 addresses that nobody tells of hold up the others for a moment only, and
// do not make them doubtful.
func TestSilenceAboutIPv6HoldsUpLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dns.New(dns.Config{ResolvConf: "none", Hosts: "none"})
		r.AskAddresses(func(name string, ip6 bool) (string, error) {
			if ip6 {
				time.Sleep(20 * time.Second)
				return "", errors.New("no answer")
			}
			return "192.0.2.1", nil
		})
		began := time.Now()
		a, err := r.LookupNetIP(t.Context(), "ip", "a.example")
		if err != nil || fmt.Sprint(a.Records) != "[192.0.2.1]" || !a.Authentic {
			t.Errorf("%+v, %v", a, err)
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("after %v", d)
		}
		time.Sleep(time.Minute)
	})
}

// What one family lacks does not hide the other, nor is it told as absence if
// the other is not known.
func TestOneFamilyIsEnough(t *testing.T) {
	failure := errors.New("no luck")
	for name, test := range map[string]struct {
		err4, err6 error
		want       string
		authentic  bool
	}{
		"both":              {nil, nil, "[192.0.2.1 2001:db8::1]", true},
		"IPv6 fails":        {nil, failure, "[192.0.2.1]", true},
		"IPv4 fails":        {failure, nil, "[2001:db8::1]", true},
		"no IPv6, insecure": {nil, notFound(), "[192.0.2.1]", false},
	} {
		r := dns.New(dns.Config{ResolvConf: "none", Hosts: "none"})
		r.AskAddresses(func(_ string, ip6 bool) (string, error) {
			if ip6 {
				return "2001:db8::1", test.err6
			}
			return "192.0.2.1", test.err4
		})
		a, err := r.LookupNetIP(t.Context(), "ip", "a.example")
		if err != nil || fmt.Sprint(a.Records) != test.want || a.Authentic != test.authentic {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

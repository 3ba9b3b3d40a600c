package delivery_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
)

// answers has one answer for each kind of question: an address, a name, an
// error or nothing.
type answers struct {
	delivery.Lookups
	ip, ip4, ip6, cname any
	asked               []string
}

func (a *answers) LookupNetIP(_ context.Context, network, _ string) ([]netip.Addr, error) {
	a.asked = append(a.asked, network)
	switch v := map[string]any{"ip": a.ip, "ip4": a.ip4, "ip6": a.ip6}[network].(type) {
	case string:
		return []netip.Addr{netip.MustParseAddr(v)}, nil
	case error:
		return nil, v
	}
	return nil, nil
}

func (a *answers) LookupCNAME(context.Context, string) (string, error) {
	switch v := a.cname.(type) {
	case string:
		return v, nil
	case error:
		return "", v
	}
	return "", notFound
}

var notFound = &net.DNSError{Err: "no such host", IsNotFound: true}

func TestAddressesAreNotFoundOnlyIfEveryAnswerSaysSo(t *testing.T) {
	none := notFound
	servfail := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	refused := &net.DNSError{Err: "server misbehaving"}
	silent := &net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}
	odd := &net.DNSError{Err: "no such host", IsNotFound: true, IsTimeout: true}
	both, either := errors.Join(none, none), errors.Join(none, servfail)
	const found, unknown, later, alias = "found", "unknown", "later", "alias"
	for name, test := range map[string]struct {
		of   answers
		want string
	}{
		"nothing anywhere":       {answers{ip: none, ip4: none, ip6: none}, unknown},
		"all joined":             {answers{ip: both, ip4: none, ip6: none}, unknown},
		"A fails":                {answers{ip: none, ip4: servfail, ip6: none}, later},
		"A refused":              {answers{ip: none, ip4: refused, ip6: none}, later},
		"A silent":               {answers{ip: none, ip4: silent, ip6: none}, later},
		"AAAA fails":             {answers{ip: none, ip4: none, ip6: servfail}, later},
		"AAAA empty":             {answers{ip: none, ip4: none}, later},
		"both empty":             {answers{}, later},
		"not sure":               {answers{ip: none, ip4: odd, ip6: none}, later},
		"one of two joined":      {answers{ip: either, ip4: none, ip6: none}, later},
		"found when asked apart": {answers{ip: none, ip4: none, ip6: "2001:db8::1"}, found},
		"no alias either":        {answers{ip: none, ip4: none, ip6: none, cname: none}, unknown},
		"alias fails":            {answers{ip: none, ip4: none, ip6: none, cname: servfail}, later},
		"alias that leads nowhere": {
			answers{ip: none, ip4: none, ip6: none, cname: "b.example."}, alias,
		},
		"there after all": {
			answers{ip: none, ip4: none, ip6: none, cname: "A.example."}, later,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := delivery.StandardOf(&test.of).LookupNetIP(t.Context(), "ip", "a.example")
			got := later
			switch {
			case err == nil:
				got = found
			case delivery.IsNotFound(err) && a.Name == "b.example":
				got = alias
			case delivery.IsNotFound(err) && a.Name == "a.example":
				got = unknown
			}
			if got != test.want || a.Authentic || (err == nil) != (len(a.Records) > 0) {
				t.Errorf("%s: %+v, %v", got, a, err)
			}
		})
	}
}

func TestAddressesThatAreFoundAreAskedForOnce(t *testing.T) {
	of := &answers{ip: "192.0.2.1"}
	delivery.StandardOf(of).LookupNetIP(t.Context(), "ip", "a.example")
	if !slices.Equal(of.asked, []string{"ip"}) {
		t.Errorf("asked for %v", of.asked)
	}
}

// names notes the names that it is asked for, and has nothing.
type names struct {
	delivery.Lookups
	asked []string
}

func (n *names) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	n.asked = append(n.asked, name)
	return nil, nil
}

func (n *names) LookupTXT(_ context.Context, name string) ([]string, error) {
	n.asked = append(n.asked, name)
	return []string{"v=spf1 -all"}, nil
}

func (n *names) LookupAddr(_ context.Context, addr string) ([]string, error) {
	n.asked = append(n.asked, addr)
	return []string{"mx.example."}, nil
}

func TestStandardResolverAsksForAbsoluteNames(t *testing.T) {
	n := &names{}
	r := delivery.StandardOf(n)
	if _, err := r.LookupMX(t.Context(), "a.example"); !delivery.IsNotFound(err) {
		t.Errorf("no exchangers: %v", err)
	}
	txt, err := r.LookupTXT(t.Context(), "a.example")
	if err != nil || txt.Records[0] != "v=spf1 -all" || txt.Name != "a.example" {
		t.Errorf("texts %+v, %v", txt, err)
	}
	ptr, err := r.LookupPTR(t.Context(), netip.MustParseAddr("192.0.2.1"))
	if err != nil || ptr.Records[0] != "mx.example" {
		t.Errorf("names %+v, %v", ptr, err)
	}
	if !slices.Equal(n.asked, []string{"a.example.", "a.example.", "192.0.2.1"}) {
		t.Errorf("asked for %q", n.asked)
	}
	_, err = r.LookupTLSA(t.Context(), "_25._tcp.a.example")
	if !errors.Is(err, errors.ErrUnsupported) || delivery.IsNotFound(err) {
		t.Errorf("TLSA: %v", err)
	}
}

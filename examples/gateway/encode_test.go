package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
)

// again writes a file and reads what was written.
func again(t *testing.T, f *file) (*file, string) {
	t.Helper()
	var out bytes.Buffer
	if err := f.encode(&out); err != nil {
		t.Fatal(err)
	}
	var found faults
	back, ok := found.decode(out.String())
	if !ok || len(found) > 0 {
		t.Fatalf("%v in\n%s", found, &out)
	}
	return back, out.String()
}

// What was read is written as it can be read again.
func TestEncodeSample(t *testing.T) {
	var found faults
	f, ok := found.decode(sample(t))
	if !ok || len(found) > 0 {
		t.Fatal(found)
	}
	if back, text := again(t, f); !reflect.DeepEqual(back, f) {
		t.Errorf("%+v became %+v by\n%s", f, back, text)
	}
}

// Every key of the schema is written and read.
func TestEncodeEveryKey(t *testing.T) {
	var f file
	fillIn(t, reflect.ValueOf(&f).Elem())
	f.SendConnector[0].Password = "kept in a file of its own"
	back, text := again(t, &f)
	f.SendConnector[0].Password = ""
	if !reflect.DeepEqual(back, &f) {
		t.Errorf("%+v became %+v by\n%s", f, back, text)
	}
	if strings.Contains(text, "file of its own") {
		t.Errorf("the password is in\n%s", text)
	}
}

// fillIn sets everything that a file can hold to something that is no default.
func fillIn(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *time.Duration:
		*x = 90 * time.Second
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("[2001:db8::1]:25")
	case *netip.Addr:
		*x = netip.MustParseAddr("2001:db8::1")
	case *connector.Range:
		*x = connector.MustParseRange("192.0.2.1-192.0.2.9")
	case *connector.AddressSpace:
		*x = connector.AddressSpace{Domain: "*.example.com", Cost: 5}
	case *connector.Principal:
		*x = connector.User(`a "b"`)
	case *connector.Right:
		*x = connector.Submit | connector.AcceptAnySender
	case *connector.PermissionGroup:
		*x = connector.AnonymousUsers | connector.Partners
	case *connector.AuthMechanism:
		*x = connector.TLS | connector.BasicAuth
	case *connector.Usage:
		*x = connector.Internal
	case *connector.RateSource:
		*x = connector.RateByUser
	case *connector.TLSLevel:
		*x = connector.TLSDomainValidation
	case *domains.Type:
		*x = domains.ExternalRelay
	case *relay.NATGuard:
		*x = relay.NATRefuse
	default:
		fillKind(t, v)
	}
}

func fillKind(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("line\n\"quoted\" # é")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillIn(t, v.Index(0))
		fillIn(t, v.Index(1))
	case reflect.Map:
		item := reflect.New(v.Type().Elem()).Elem()
		fillIn(t, item)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(`a "b".c`), item)
	case reflect.Struct:
		for _, sf := range reflect.VisibleFields(v.Type()) {
			if !sf.Anonymous && sf.Name != "Password" && sf.Name != "RootCAs" &&
				sf.Name != "Tokens" {
				fillIn(t, v.FieldByIndex(sf.Index))
			}
		}
	default:
		t.Fatalf("no value for %s", v.Type())
	}
}

// A usage presets some fields: what is taken away of them is written too.
func TestEncodeUsages(t *testing.T) {
	for u := connector.Custom; u <= connector.Partner; u++ {
		for _, change := range []func(*connector.Connector){
			func(*connector.Connector) {},
			func(c *connector.Connector) { *c = connector.Connector{Name: c.Name, Usage: c.Usage} },
			func(c *connector.Connector) {
				c.Limits = connector.Limits{MessageRate: -1, Tarpit: -1, MaxConnections: -1}
			},
		} {
			c := connector.New(fmt.Sprint("c", u), u)
			change(c)
			back, text := again(t, &file{Connector: []*connector.Connector{c}})
			got := back.Connector[0]
			got.Limits, c.Limits = got.Limits.WithDefaults(u), c.Limits.WithDefaults(u)
			if len(got.Bindings)+len(c.Bindings) == 0 {
				got.Bindings, c.Bindings = nil, nil
			}
			if len(got.RemoteIPRanges)+len(c.RemoteIPRanges) == 0 {
				got.RemoteIPRanges, c.RemoteIPRanges = nil, nil
			}
			if !reflect.DeepEqual(got, c) {
				t.Errorf("%+v became %+v by\n%s", c, got, text)
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	f := &file{Retry: delivery.Retry{Expires: time.Hour}, Connector: []*connector.Connector{
		{Name: "c", Usage: 99},
	}}
	if err := f.encode(new(bytes.Buffer)); err == nil {
		t.Error("a usage that has no word was written")
	}
}

package postern_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/autoconfig"
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestEveryFaultIsAFieldError gives each constructor several faults and finds
// all of them in the error, each with its field.
func TestEveryFaultIsAFieldError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		make   func(t *testing.T) error
		fields []string
	}{
		{"connector", func(*testing.T) error {
			return (&connector.Connector{Name: "x"}).Validate()
		}, []string{"Bindings", "RemoteIPRanges"}},
		{"connector.NewSet", func(*testing.T) error {
			_, err := connector.NewSet(nil, &connector.Connector{Name: "x"})
			return err
		}, []string{"[0]", "[1].Bindings", "[1].RemoteIPRanges"}},
		{"send connector", func(*testing.T) error {
			return (&connector.SendConnector{}).Validate()
		}, []string{"Name", "AddressSpaces"}},
		{"connector.NewSendSet", func(*testing.T) error {
			_, err := connector.NewSendSet(nil, &connector.SendConnector{Name: "x"})
			return err
		}, []string{"[0]", "[1].AddressSpaces"}},
		{"connector.CheckTrusted", func(*testing.T) error {
			return connector.CheckTrusted(make([]connector.Range, 2))
		}, []string{"[0]", "[1]"}},
		{"exchange.Read", func(*testing.T) error {
			_, err := exchange.Read(exchange.Dump{
				AcceptedDomains: []byte(`[1, 2]`),
			})
			return err
		}, []string{"AcceptedDomains[0]", "AcceptedDomains[1]"}},
		{"domains.NewTable", func(*testing.T) error {
			_, err := domains.NewTable(
				domains.AcceptedDomain{Domain: "-"}, domains.AcceptedDomain{Domain: "-"},
			)
			return err
		}, []string{"[0].Domain", "[0].Recipients", "[1].Domain", "[1].Recipients"}},
		{"domains.OpenRecipients", func(t *testing.T) error {
			_, err := domains.OpenRecipients(textFile(t, "list", "a@example.com\n@\n\n@\n"))
			return err
		}, []string{"list:2", "list:4"}},
		{"auth.OpenHtpasswd", func(t *testing.T) error {
			_, err := auth.OpenHtpasswd(textFile(t, "users", "anna\nbert\n"), nil)
			return err
		}, []string{"users:1", "users:2"}},
		{"Keyring.Issue", func(t *testing.T) error {
			_, _, err := auth.NewKeyring(
				&auth.MemoryCredentials{}, nil,
			).Issue(t.Context(), auth.Credential{PerDay: -1, PerMinute: -1})
			return err
		}, []string{"Owner", "PerDay", "PerMinute"}},
		{"msgauth.NewSigner", func(t *testing.T) error {
			key, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				t.Fatal(err)
			}
			key.N = big.NewInt(3) // too short
			_, err = msgauth.NewSigner(
				msgauth.Key{},
				msgauth.Key{Domain: "example.com", Selector: "s", Signer: key},
			)
			return err
		}, []string{"[0].Domain", "[0].Selector", "[0].Signer", "[1].Signer"}},
		{"relay.New", func(*testing.T) error {
			_, err := relay.New(relay.Config{
				Connectors:     []*connector.Connector{{Name: "x"}},
				SendConnectors: []*connector.SendConnector{{Name: "x"}},
			})
			return err
		}, []string{
			"Spool", "Hostname", "Connectors[0].Bindings", "Connectors[0].RemoteIPRanges",
			"SendConnectors[0].AddressSpaces",
		}},
		{"Relay.Reload", func(t *testing.T) error {
			return newRelay(t).Reload(relay.Config{
				Connectors: []*connector.Connector{{Name: "x"}},
			})
		}, []string{"Connectors[0].Bindings", "Connectors[0].RemoteIPRanges"}},
		{"Relay.Explain", func(t *testing.T) error {
			_, err := newRelay(t).Explain(t.Context(), relay.ExplainQuery{From: "@", To: "@"})
			return err
		}, []string{"Local", "Remote", "From", "To"}},
		{"relay.LoadCertificates", func(*testing.T) error {
			_, err := relay.LoadCertificates(nil, make([]relay.CertificateFiles, 2)...)
			return err
		}, []string{"files[0]", "files[1]"}},
		{"httpapi.New", func(*testing.T) error {
			_, err := httpapi.New(httpapi.Config{RequireForwarded: true, MaxBuffered: -1})
			return err
		}, []string{"Relay", "RequireForwarded", "MaxBuffered"}},
		{"admin.New", func(*testing.T) error {
			_, err := admin.New(admin.Config{RequireForwarded: true})
			return err
		}, []string{"Relay", "Verifier", "RequireForwarded"}},
		{"autoconfig.New", func(t *testing.T) error {
			_, err := autoconfig.New(newRelay(t), &autoconfig.Options{Hostname: "-", WebHost: "-"})
			return err
		}, []string{"Hostname", "WebHost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.make(t)
			if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Err == nil {
				t.Fatalf("errors.As finds no FieldError in %v", err)
			}
			list, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("%T has no Unwrap() []error", err)
			}
			var fields []string
			for _, fault := range list.Unwrap() {
				f, ok := fault.(*postern.FieldError)
				if !ok {
					t.Fatalf("%T is no FieldError: %v", fault, fault)
				}
				fields = append(fields, filepath.Base(f.Field))
			}
			for _, want := range test.fields {
				if !slices.Contains(fields, want) {
					t.Errorf("no fault of %s among those of %q", want, fields)
				}
			}
		})
	}
}

func textFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newRelay(t *testing.T) *relay.Relay {
	t.Helper()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFieldErrorTellsFieldAndFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  postern.FieldError
		want string
	}{
		{postern.FieldError{Field: "Spool", Err: fs.ErrNotExist}, "Spool: file does not exist"},
		{postern.FieldError{Err: fs.ErrNotExist}, "file does not exist"},
		{postern.FieldError{}, "<nil>"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q, want %q", got, test.want)
		}
		if test.err.Unwrap() != test.err.Err {
			t.Errorf("Unwrap() is not Err of %v", test.want)
		}
	}
}

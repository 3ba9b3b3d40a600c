package peertest_test

import (
	"bytes"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestOpenAPI holds the document of HTTP submission to the schema of OpenAPI,
// with a validator that others wrote.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	users := connector.Submission("users")
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	users.AuthMechanisms = connector.BasicAuth
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{users},
		Verifier:   auth.Static(map[string]string{user: password}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h, err := httpapi.New(httpapi.Config{Relay: r, Connector: "users"})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/openapi.json", nil))
	document := rec.Body.Bytes()
	if version, err := output(
		t.Context(), bytes.NewReader(document), "node", "node/openapi.mjs",
	); err != nil || strings.TrimSpace(version) != "3.1" {
		t.Errorf("%v: %s", err, version)
	}
	wrong := bytes.Replace(document, []byte(`"operationId"`), []byte(`"operation"`), 1)
	if text, err := output(
		t.Context(), bytes.NewReader(wrong), "node", "node/openapi.mjs",
	); err == nil {
		t.Errorf("a faulty document passes: %s", text)
	}
}

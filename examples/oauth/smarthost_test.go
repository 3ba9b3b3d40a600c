package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth/oauthclient"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// tokenServer gives an application tokens for a user, the first one for another
// service.
type tokenServer struct {
	*issuer
	mu    sync.Mutex
	given int
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.PostFormValue("client_id") != "shop" || r.PostFormValue("client_secret") != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	audience := "mail"
	if s.given++; s.given == 1 {
		audience = "web"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": s.token(audience, anna), "token_type": "Bearer", "expires_in": 3600,
	})
}

// TestRelayLogsOnWithTokens: one relay sends through another, which asks for
// tokens of the provider. The first token is refused, and replaced.
func TestRelayLogsOnWithTokens(t *testing.T) {
	s := newSite(t)
	tokens := &tokenServer{issuer: s.provider}
	web := httptest.NewServer(tokens)
	t.Cleanup(web.Close)
	client := oauthclient.Config{TokenURL: web.URL, ClientID: "shop", ClientSecret: "secret"}
	submit(t, s.dir, s.start(t), client)
	if m := s.sink.Next(t); m.From != anna || !strings.Contains(m.Content, "Subject: hello") {
		t.Errorf("arrived: %+v", m)
	}
	if tokens.given != 2 {
		t.Errorf("%d tokens were given", tokens.given)
	}
}

// submit sends a message through a relay that logs on to a smart host.
func submit(t *testing.T, dir string, smart netip.AddrPort, client oauthclient.Config) {
	t.Helper()
	source, err := oauthclient.New(client)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	r, err := relay.New(relay.Config{
		Hostname: "shop.example.com", Spool: memspool.New(nil),
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(), NextHop: connector.NextHop{
				Hosts: []string{smart.String()}, RootCAs: roots,
				TLS: connector.TLSDomainValidation, TLSDomain: "localhost",
				Username: anna, Tokens: source,
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	_, err = r.Submit(t.Context(), &relay.Message{
		From: anna, To: []string{"bob@example.net"},
		Content: strings.NewReader("Subject: hello\r\nDate: " +
			time.Now().Format(time.RFC1123Z) + "\r\n\r\nHello.\r\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

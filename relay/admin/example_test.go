package admin_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// printers makes a relay for the hosts of one network.
func printers() *relay.Relay {
	c := connector.AnonymousRelay("printers", connector.MustParseRange("10.0.5.0/24"))
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.25:25")}
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{c},
		Transport: delivery.TransportFunc(func(
			context.Context, *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// Operators log on with a password, and ask why a host may not send.
func Example() {
	r := printers()
	defer r.Close()
	page, err := admin.New(admin.Config{
		Relay:    r,
		Verifier: auth.Static(map[string]string{"operator": "secret"}),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/relay/", http.StripPrefix("/relay", page))
	server := httptest.NewTLSServer(mux)
	defer server.Close()

	ask := func(user, password, remote string) {
		question := url.Values{
			"remote": {remote}, "connector": {"printers"}, "from": {"scan@example.com"},
			"to": {"bob@example.net"},
		}
		req, _ := http.NewRequest(
			http.MethodPost, server.URL+"/relay/explain", strings.NewReader(question.Encode()),
		)
		req.SetBasicAuth(user, password)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		res, err := server.Client().Do(req)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		_, replies, _ := strings.Cut(string(body), `"replies": `)
		fmt.Println(strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", replies)))
	}
	ask("operator", "guess", "10.0.5.7")
	ask("operator", "secret", "10.0.6.7")
	// Output:
	// 401
	// 200 [
	//     {
	//       "command": "connect",
	//       "code": 0,
	//       "enhanced": "",
	//       "text": "",
	//       "reason": "no connector for the peer: the connection is closed without a banner"
	//     }
	//   ],
	//   "refused": true
	// }
}

// Behind the application's own logon. The application sees to TLS, unless
// RequireEncryption does.
func ExampleConfig_authorize() {
	r := printers()
	defer r.Close()
	page, err := admin.New(admin.Config{
		Relay: r,
		Authorize: func(req *http.Request) bool {
			session, err := req.Cookie("session")
			return err == nil && session.Value == "one that the application knows"
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 403 Forbidden.
}

// Those who look may also lift throttles if they say who they are by a password
// of their own. A program posts JSON.
func ExampleConfig_operate() {
	r := printers()
	defer r.Close()
	page, err := admin.New(admin.Config{
		Relay:    r,
		Verifier: auth.Static(map[string]string{"alice": "secret", "guest": "guest"}),
		Operate: func(req *http.Request) bool {
			user, _, _ := req.BasicAuth() // the Verifier has decided on it
			return user == "alice"
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	lift := func(user, password, id string) {
		body := strings.NewReader(fmt.Sprintf(`{"id": %q}`, id))
		req := httptest.NewRequest(http.MethodPost, "https://relay.example.com/lift", body)
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth(user, password)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, req)
		fmt.Print(w.Code, " ", w.Body)
	}
	lift("guest", "guest", "di20580oj5s7qdaa")
	lift("alice", "secret", "di20580oj5s7qdaa")
	// Output:
	// 403 You may look, and change nothing.
	// 404 There is no such throttle any more.
}

// New tells every fault at once. Without a way to log on there is no page.
func ExampleNew() {
	_, err := admin.New(admin.Config{Group: "operators"})
	fmt.Println(err)
	// Output:
	// Relay: a relay is required
	// Verifier: this or Authorize is required
	// Group: needs a Verifier
}

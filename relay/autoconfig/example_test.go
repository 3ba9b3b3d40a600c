package autoconfig_test

import (
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/autoconfig"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// exampleRelay takes mail from users on port 587.
func exampleRelay() *relay.Relay {
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{connector.Submission("users")},
		TLS:        &tls.Config{}, // with the certificate of relay.example.com
		Verifier:   auth.Static(map[string]string{"alice@example.com": "secret"}),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Type: domains.ExternalRelay},
		},
		Transport: discard(),
	})
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// Mail programs ask the application's web server, which answers from the
// relay's connectors.
func Example() {
	settings, err := autoconfig.New(exampleRelay(), &autoconfig.Options{
		DisplayName: "Example Mail",
		Incoming:    []autoconfig.Incoming{{Hostname: "imap.example.com"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("autoconfig.example.com/", settings)
	mux.Handle("autodiscover.example.com/", settings)

	w := httptest.NewRecorder()
	mux.ServeHTTP(
		w,
		httptest.NewRequest(
			"GET",
			"https://autoconfig.example.com/mail/config-v1.1.xml?emailaddress=alice@example.com",
			nil,
		),
	)
	fmt.Print(w.Body)
	// Output:
	// <?xml version="1.0" encoding="UTF-8"?>
	// <clientConfig version="1.1">
	//   <emailProvider id="example.com">
	//     <domain>example.com</domain>
	//     <displayName>Example Mail</displayName>
	//     <displayShortName>Example Mail</displayShortName>
	//     <incomingServer type="imap">
	//       <hostname>imap.example.com</hostname>
	//       <port>993</port>
	//       <socketType>SSL</socketType>
	//       <username>%EMAILADDRESS%</username>
	//       <authentication>password-cleartext</authentication>
	//     </incomingServer>
	//     <outgoingServer type="smtp">
	//       <hostname>relay.example.com</hostname>
	//       <port>587</port>
	//       <socketType>STARTTLS</socketType>
	//       <username>%EMAILADDRESS%</username>
	//       <authentication>password-cleartext</authentication>
	//     </outgoingServer>
	//   </emailProvider>
	// </clientConfig>
}

// The lines to add to the zone of a domain.
func ExampleHandler_Records() {
	settings, err := autoconfig.New(exampleRelay(), &autoconfig.Options{
		WebHost:  "www.example.com",
		Incoming: []autoconfig.Incoming{{Hostname: "imap.example.com"}},
		STS:      &autoconfig.STS{MX: []string{"relay.example.com"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range settings.Records("example.com") {
		fmt.Println(r)
	}
	// Output:
	// _submission._tcp.example.com. IN SRV 0 1 587 relay.example.com.
	// _imaps._tcp.example.com. IN SRV 0 1 993 imap.example.com.
	// _autodiscover._tcp.example.com. IN SRV 0 1 443 www.example.com.
	// autoconfig.example.com. IN CNAME www.example.com.
	// mta-sts.example.com. IN CNAME www.example.com.
	// _mta-sts.example.com. IN TXT "v=STSv1; id=c90b714a600ae69f64c620c9a96d0659;"
}

// The policy that other servers fetch before they send mail to the domain.
func ExampleSTS() {
	settings, err := autoconfig.New(exampleRelay(), &autoconfig.Options{
		STS: &autoconfig.STS{Mode: autoconfig.Enforce, MX: []string{"relay.example.com"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	settings.ServeHTTP(
		w, httptest.NewRequest("GET", "https://mta-sts.example.com/.well-known/mta-sts.txt", nil),
	)
	fmt.Print(strings.ReplaceAll(w.Body.String(), "\r\n", "\n"))
	// Output:
	// version: STSv1
	// mode: enforce
	// mx: relay.example.com
	// max_age: 604800
}

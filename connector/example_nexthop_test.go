package connector_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
)

// Mail goes to one of two hosts, which prove their name and get a password.
func ExampleNextHop() {
	hop := connector.NextHop{
		Hosts:     []string{"smtp1.example.net", "smtp2.example.net:587"},
		TLS:       connector.TLSDomainValidation,
		TLSDomain: "smtp.example.net",
		Username:  "shop", Password: "secret",
	}
	fmt.Println(hop, hop.WithDefaults().Port, hop.Validate())
	hop.TLS = connector.TLSOpportunistic
	hop.TLSDomain = ""
	lines := strings.NewReplacer("; ", "\n", " and ", "\nand ", ", or", ",\nor")
	fmt.Println(lines.Replace(hop.Validate().Error()))
	// Output:
	// smtp1.example.net, smtp2.example.net:587 25 <nil>
	// Username: the password would go to whoever answers
	// set TLS to DomainValidation
	// and TLSDomain to the name in the smart host's certificate,
	// or set AllowUnverifiedAuth
}

// Connections that are made from one of the host's addresses, and kept longer
// than others between messages.
func ExampleNextHop_connections() {
	hop := connector.NextHop{
		SourceAddress:  netip.MustParseAddr("192.0.2.1"),
		MaxConnections: 50,
		IdleTimeout:    30 * time.Second,
	}
	fmt.Println(hop.Validate())
	hop = hop.WithDefaults()
	fmt.Println(hop.MessagesPerConnection, "messages, idle for", hop.IdleTimeout)
	fmt.Println("at most", hop.ConnectionAge)
	// Output:
	// <nil>
	// 100 messages, idle for 30s
	// at most 5m0s
}

package postern_test

import (
	"errors"
	"fmt"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// A settings page marks every field that is wrong, not the first alone.
func ExampleFieldError() {
	_, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{connector.Submission("")},
	})
	if faults, ok := err.(interface{ Unwrap() []error }); ok {
		for _, fault := range faults.Unwrap() {
			var f *postern.FieldError
			if errors.As(fault, &f) {
				fmt.Printf("%s | %v\n", f.Field, f.Err)
			}
		}
	}
	// Output:
	// Connectors[0].Name | missing; give the connector a name of its own
	// Connectors[0].AuthMechanisms | BasicAuthRequireTLS needs a certificate: set TLS, or no client can log on
	// Verifier | required, or Auth, because connector "" offers BasicAuth
}

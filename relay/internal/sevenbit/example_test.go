package sevenbit_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// A message of an old program, for a next hop that takes only 7-bit content.
func Example() {
	const content = "Subject: lunch\r\n\r\nCaf\u00e9 at noon?\r\n"
	plan, err := sevenbit.Scan(strings.NewReader(content))
	if err != nil || plan.Err() != nil {
		fmt.Println(err, plan.Err())
		return
	}
	converted, err := io.ReadAll(plan.Reader(strings.NewReader(content), false))
	fmt.Println(plan.Eight(), err)
	fmt.Print(strings.ReplaceAll(string(converted), "\r\n", "\n"))
	// Output:
	// true <nil>
	// Subject: lunch
	// MIME-Version: 1.0
	// Content-Type: text/plain; charset=utf-8
	// Content-Transfer-Encoding: quoted-printable
	//
	// Caf=C3=A9 at noon?
}

package domains_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/domains"
)

func ExampleParse() {
	a, err := domains.Parse("Anna@Bücher.example")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a)
	fmt.Println(a.Local(), a.Domain())
	fmt.Println(a.ASCII())

	_, err = domains.Parse("anna@@example.com")
	fmt.Println(errors.Is(err, domains.ErrAddress))
	// Output:
	// Anna@Bücher.example
	// Anna xn--bcher-kva.example
	// Anna@xn--bcher-kva.example true
	// true
}

func ExampleParsePath() {
	a, rest, err := domains.ParsePath(`<"anna> SIZE=0"@example.com> SIZE=1024`)
	fmt.Printf("%s |%s| %v\n", a, rest, err)
	// Output: "anna> SIZE=0"@example.com | SIZE=1024| <nil>
}

func ExampleAddress_Key() {
	a := domains.MustParse(`"an\na"@Example.com`)
	b := domains.MustParse("anna@example.com")
	fmt.Println(a == b, a.Key() == b.Key())
	// Output: false true
}

func ExampleAddress_WithDomain() {
	a, _, _ := domains.ParsePath("<Postmaster>")
	if a.Domain() == "" && a.IsPostmaster() {
		a, _ = a.WithDomain("example.com")
	}
	fmt.Println(a)
	// Output: Postmaster@example.com
}

func ExampleParseDomain() {
	fmt.Println(domains.ParseDomain("Bücher.Example"))
	fmt.Println(domains.ParseDomain("[ipv6:2001:DB8::1]"))
	// Output:
	// xn--bcher-kva.example <nil>
	// [IPv6:2001:db8::1] <nil>
}

func ExampleNewTable() {
	table, err := domains.NewTable(
		domains.AcceptedDomain{
			Domain: "example.com", Recipients: domains.StaticRecipients("anna", "bert"),
		},
		domains.AcceptedDomain{Domain: "*.example.com", Type: domains.InternalRelay},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, domain := range []string{"example.com", "shop.example.com", "example.org"} {
		if d, ok := table.Lookup(domain); ok {
			fmt.Println(domain, d.Domain, d.Type)
		} else {
			fmt.Println(domain, "is not accepted")
		}
	}
	// Output:
	// example.com example.com Authoritative
	// shop.example.com *.example.com InternalRelay
	// example.org is not accepted
}

func ExampleNewTable_faults() {
	_, err := domains.NewTable(
		domains.AcceptedDomain{Domain: "mail.*.example.com", Type: domains.ExternalRelay},
		domains.AcceptedDomain{Domain: "example.com"},
	)
	fmt.Println(err)
	// Output:
	// [0].Domain: a wildcard may only be the first label: *.example.com
	// [1].Recipients: must be set for an authoritative domain
}

func ExampleTable_Domains() {
	table, _ := domains.NewTable(
		domains.AcceptedDomain{Domain: "Bücher.Example", Type: domains.InternalRelay},
	)
	for _, d := range table.Domains() {
		fmt.Println(d.Domain)
	}
	// Output: xn--bcher-kva.example
}

func ExampleParseType() {
	t, err := domains.ParseType("internalrelay")
	fmt.Println(t, err)
	// Output: InternalRelay <nil>
}

func ExampleResolverFunc() {
	directory := map[string]bool{"anna@example.com": true}
	var r domains.Resolver = domains.ResolverFunc(func(
		ctx context.Context, a domains.Address,
	) (bool, error) {
		if a.Domain() == "down.example" {
			return false, errors.New("directory not reachable") // a temporary reply, no refusal
		}
		return directory[a.FoldedKey()], nil
	})
	for _, s := range []string{"Anna@example.com", "nobody@example.com", "anna@down.example"} {
		fmt.Println(r.Resolve(context.Background(), domains.MustParse(s)))
	}
	// Output:
	// true <nil>
	// false <nil>
	// false directory not reachable
}

func ExampleAddress_FoldedKey() {
	for _, s := range []string{"Anna@Example.com", `"anna"@example.com`, `"O Neil"@example.com`} {
		fmt.Println(domains.MustParse(s).FoldedKey())
	}
	// Output:
	// anna@example.com
	// anna@example.com
	// "o neil"@example.com
}

func ExampleStaticRecipients() {
	r := domains.StaticRecipients("anna", "bert@example.com")
	for _, s := range []string{"Anna@example.org", "bert@example.com", "bert@example.org"} {
		known, _ := r.Resolve(context.Background(), domains.MustParse(s))
		fmt.Println(s, known)
	}
	// Output:
	// Anna@example.org true
	// bert@example.com true
	// bert@example.org false
}

func ExampleAnyRecipient() {
	known, err := domains.AnyRecipient().Resolve(
		context.Background(), domains.MustParse("who@example.com"),
	)
	fmt.Println(known, err)
	// Output: true <nil>
}

func ExampleOpenRecipients() {
	dir, err := os.MkdirTemp("", "recipients")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "recipients")
	if err := os.WriteFile(
		path, []byte("# one a line\nanna\nbert@example.com\n"), 0o600,
	); err != nil {
		fmt.Println(err)
		return
	}
	r, err := domains.OpenRecipients(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Resolve(context.Background(), domains.MustParse("anna@example.com")))
	// Output: true <nil>
}

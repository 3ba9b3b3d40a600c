package msgauth_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/postern-mail/postern/auth/msgauth"
)

func Example() {
	// In real life the key comes from msgauth.LoadKey.
	private := ed25519.NewKeyFromSeed([]byte("an example seed of 32 octets....."[:32]))
	signer, err := msgauth.NewSigner(
		msgauth.Key{Domain: "example.com", Selector: "s1", Signer: private},
	)
	if err != nil {
		log.Fatal(err)
	}

	header := "From: app@example.com\r\nSubject: Hello\r\n\r\n"
	s, err := signer.Sign("example.com", []byte(header))
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	io.WriteString(s, "Hello Bob\r\n")
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}
	field := strings.ReplaceAll(string(s.Fields()), "\r\n", " ")
	for tag := range strings.FieldsSeq(field) {
		if strings.HasPrefix(tag, "a=") || strings.HasPrefix(tag, "c=") ||
			strings.HasPrefix(tag, "d=") || strings.HasPrefix(tag, "s=") {
			fmt.Println(tag)
		}
	}
	// Output:
	// a=ed25519-sha256;
	// c=relaxed/relaxed;
	// d=example.com;
	// s=s1;
}

func ExampleKey_TXT() {
	key := msgauth.Key{
		Domain:   "example.com",
		Selector: "s1",
		Signer:   ed25519.NewKeyFromSeed([]byte("an example seed of 32 octets....."[:32])),
	}
	name, value := key.TXT()
	fmt.Println(name)
	fmt.Println(value)
	// Output:
	// s1._domainkey.example.com
	// v=DKIM1; k=ed25519; p=psgaQuTfb+VqPA7lBfFbvDgje5/uT31QjgPPDvYtPdw=
}

func ExampleSigner_For() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer, err := msgauth.NewSigner(
		msgauth.Key{Domain: "example.com", Selector: "s1", Signer: private, Subdomains: true},
		msgauth.Key{Domain: "example.net", Selector: "s1", Signer: private},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, domain := range []string{"example.com", "news.example.com", "news.example.net"} {
		fmt.Println(domain, len(signer.For(domain)))
	}
	// Output:
	// example.com 1
	// news.example.com 1
	// news.example.net 0
}

// A key in a secret store is read as one in a file is.
func ExampleParseKey() {
	der, err := x509.MarshalPKCS8PrivateKey(
		ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
	)
	if err != nil {
		log.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	key, err := msgauth.ParseKey(text)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%T\n", key)
	// Output: ed25519.PrivateKey
}

package header_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/internal/header"
)

func ExamplePool_Read() {
	content := strings.NewReader("Received: from a by relay.example.com; Mon, 2 Jan 2006 " +
		"15:04:05 +0000\r\n" +
		"From: App <app@example.com>\r\nBcc: eve@example.net\r\nSubject: Hello\r\n Bob\r\n\r\n" +
		"How are you?\r\n")

	var pool header.Pool
	h, body, err := pool.Read(content, 256<<10)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release()
	fmt.Println(h.Hops("relay.example.com"))
	fmt.Println(h.Value("subject"))
	header.Firewall{}.Apply(h)
	var out strings.Builder
	out.Write(h.Bytes())
	io.Copy(&out, body)
	fmt.Print(strings.ReplaceAll(out.String(), "\r\n", "\n"))
	// Output:
	// 1 1
	// Hello Bob
	// From: App <app@example.com>
	// Subject: Hello
	//  Bob
	//
	// How are you?
}

func ExampleReceived() {
	r := header.Received{
		HELO: "app.example.com", RemoteIP: netip.MustParseAddr("192.0.2.1"),
		By:         "relay.example.com",
		With:       header.With{ESMTP: true, TLS: true, Auth: true}.String(),
		TLSVersion: tls.VersionTLS13, TLSCipher: tls.TLS_AES_128_GCM_SHA256,
		ID: "0123456789abcdefghijklmnop", For: "bob@example.net",
		Time: time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC),
	}
	fmt.Print(strings.ReplaceAll(string(r.AppendTo(nil)), "\r\n", "\n"))
	// Output:
	// Received: from app.example.com ([192.0.2.1])
	// 	(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256) by relay.example.com
	// 	with ESMTPSA id 0123456789abcdefghijklmnop for <bob@example.net>;
	// 	Mon, 2 Jan 2006 15:04:05 +0000
}

func ExampleAddresses() {
	list, err := header.Addresses(`"Bob, of Example" <bob@example.com>, "a b"@example.net`)
	fmt.Println(list, err)
	// Output:
	// [bob@example.com "a b"@example.net] <nil>
}

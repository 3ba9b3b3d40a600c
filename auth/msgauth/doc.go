// Package msgauth signs messages with DKIM (RFC 6376), so that whoever receives
// them can tell that they come from the domain they name.
//
// A [Key] is a private key, the domain it speaks for, and the selector under
// which its public half is published; [Key.TXT] gives the record to publish. A
// [Signer] holds the keys and finds those for a sender's domain.
//
//	signer, err := msgauth.NewSigner(keys...)
//	s, err := signer.Sign("example.com", header) // ErrNoKey: send it unsigned
//	defer s.Close()
//	io.Copy(s, body)
//	err = s.Close()
//	message = s.Fields() + header + body
//
// # What is signed
//
// The body as a whole, never a part of it (no l=), and the header fields that
// tell who wrote what to whom and how to read it. Those of them that a message
// has at most once, such as From, To, Subject and Date, are signed once more
// than they are there, so that nobody can put another on top of a signed
// message. Fields that a mailing list adds (Sender, List-Id and others) are
// signed that way only when present. Canonicalization is relaxed/relaxed.
//
// A message must have exactly one From field to be signed.
//
// # Which domain signs
//
// The domain of the header From, as DMARC (RFC 7489) compares it with d=. A key
// signs for its own domain, and with [Key.Subdomains] for those domains below
// it that no key names more closely. All keys of the domain found sign, so an
// Ed25519 key (RFC 8463) can stand beside an RSA key for those who do not know
// it yet.
//
// # Concurrency
//
// A Signer may be used by many goroutines at once, a [Signing] by one. While a
// Signing is open it holds one goroutine for each key: always Close it.
package msgauth

// Package wiretest plays SMTP dialogues in tests, as either side of them.
//
// A dialogue is text. Each of its lines is one of
//
//	# a comment
//	C: <line>        the client says a line
//	S: <line>        the server says a line; * stands for any text
//	S* <n> <line>    the server says a line n times
//	C> <text>        the client sends a Go string, without its quotes, as it is
//	S> <text>        so does the server
//	C* <n> <text>    the client sends a Go string n times
//	EHLO             the client says EHLO, and the server offers anything
//	tls              both do a TLS handshake
//	wait <duration>  nobody does anything
//	silent           the other side has nothing to say just now
//	hangup           the client closes the connection
//	close            the server closes the connection
//
// What a [Side] says of these it sends, and what the other side says it
// expects.
package wiretest

// Package sevenbit converts messages to 7-bit MIME, for next hops that do not
// take 8-bit content (RFC 6152 section 3).
//
// [Scan] reads a content once and makes a [Plan]; [Plan.Reader] reads the same
// content again and converts it on the way. Neither holds more of the content
// than a piece of a line: the plan is one octet for every part.
//
//	plan, err := sevenbit.Scan(content)
//	switch {
//	case err != nil: // content could not be read
//	case !plan.Eight(): // it is 7-bit and goes out as it is
//	case plan.Err() != nil: // it cannot be sent
//	default:
//		io.Copy(w, plan.Reader(again, false))
//	}
//
// # What changes
//
// A part whose body cannot stand as 7bit becomes quoted-printable if it is
// text, base64 if it is not, or is text with a CR or an LF on its own. A part
// that was labelled 8bit or binary and is 7-bit is labelled 7bit, and so are
// multiparts and attached messages, on which no encoding may be put (RFC 2045
// section 6.4): they are converted inside, messages in messages too. A message
// without MIME fields gets them; its character set is utf-8 if it is valid
// UTF-8, else unknown-8bit (RFC 1428). Octets of 8 bits before the first part
// of a multipart and after its last, where nobody reads, become question marks.
// All else stays, the structure above all: nothing that is written can be taken
// for a delimiter that was none, so quoted-printable has no hyphens at the
// beginnings of lines.
//
// An attached message with raw 8-bit octets in a header becomes message/global
// in base64 (RFC 6532 section 3.7), as nothing else can hold it.
//
// # Headers
//
// Raw 8-bit octets in a header become encoded words (RFC 2047), also in display
// names and comments, and in parameters what RFC 2231 has for them. Their
// character set is utf-8 if they are valid UTF-8, else the one that the message
// tells for its text, else unknown-8bit. They stay where neither may stand: in
// addresses and message ids.
//
// # What stays 8-bit
//
// What claims an encoding that it has not, a multipart without a boundary that
// can be read or in which the boundary does not appear, and an 8-bit
// message/partial: only its sender knows what is meant. Postfix passes such
// content on in the same way. Raw octets in quoted-printable are encoded, since
// every reader takes them for what they are. A content beyond the bounds (100
// multiparts in one another, 10000 parts, 8 KiB for a Content-Type) stays as a
// whole.
//
// # What cannot be converted
//
// What stays must not have a CR or an LF on its own, or NUL, and neither may a
// header, as no next hop without BINARYMIME takes them ([ErrUnfit]).
//
// # Signatures
//
// A signature over what is changed breaks: S/MIME and OpenPGP in
// multipart/signed as well as DKIM. RFC 3156 and RFC 8551 have signers write
// 7-bit content for that reason, and RFC 6376 section 5.3 advises it for DKIM.
//
// # Concurrency
//
// A Plan may be used by many goroutines at once, a reader by one.
package sevenbit

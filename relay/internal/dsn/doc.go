// Package dsn writes delivery status notifications (RFC 3464), the reports that
// tell a sender what became of a message, and decides who gets one (RFC 3461).
//
//	if dsn.Wanted(m.From, rcpt.Notify, dsn.Failed) {
//		r := dsn.Report{…}
//		body, err := r.Write(w, original)
//	}
//
// A report goes out with the null reverse-path to the sender of the original.
//
// # Parts
//
//   - Plain words: what failed, for whom, why, what to do.
//   - message/delivery-status: the same for programs.
//   - The original message, or its header section; see [Report.Return].
//
// For an original submitted with SMTPUTF8 the last two have the types of RFC
// 6533, and the report itself needs SMTPUTF8, unless nothing in it is beyond
// ASCII.
//
// # Safety
//
// Every value is made harmless where it is written: a remote reply, an address
// or a subject cannot add a field, end a part or forge a recipient. From the
// original, Bcc and the header fields of an organization and a forest are left
// out. Its Received fields stay: they show the sender's administrators the way
// it came.
package dsn

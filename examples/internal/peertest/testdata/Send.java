import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.mail.Address;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Sends a message with Jakarta Mail. The refusal goes out. The arguments are host, port, security, mechanism, user, password,
 * from, to, file and ca.
 */
class Send {
	public static void main(String[] a) throws Exception {
		String host = a[0], security = a[2], mechanism = a[3];
		String protocol = security.equals("implicit") ? "smtps" : "smtp", p = "mail." + protocol + ".";
		Properties properties = new Properties();
		properties.put(p + "localhost", "client.example.test");
		properties.put(p + "from", a[6]);
		properties.put(p + "timeout", "60000");
		properties.put(p + "ssl.socketFactory", context(a[9]).getSocketFactory());
		properties.put(p + "ssl.checkserveridentity", "true");
		properties.put(p + "starttls.required", String.valueOf(security.equals("STARTTLS")));
		properties.put(p + "starttls.enable", String.valueOf(security.equals("STARTTLS")));
		properties.put(p + "auth", String.valueOf(!mechanism.isEmpty()));
		properties.put(p + "auth.mechanisms", mechanism);
		Session session = Session.getInstance(properties);
		try (Transport t = session.getTransport(protocol); InputStream file = new FileInputStream(a[8])) {
			MimeMessage m = new MimeMessage(session, file);
			boolean logon = !mechanism.isEmpty();
			t.connect(host, Integer.parseInt(a[1]), logon ? a[4] : null, logon ? a[5] : null);
			t.sendMessage(m, new Address[] {new InternetAddress(a[7])});
		}
	}

	static SSLContext context(String ca) throws Exception {
		KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (InputStream file = new FileInputStream(ca)) {
			store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
		}
		TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		trust.init(store);
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(null, trust.getTrustManagers(), null);
		return context;
	}
}

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.security.Principal;
import java.security.cert.Certificate;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.eclipse.californium.core.CoapClient;
import org.eclipse.californium.core.CoapHandler;
import org.eclipse.californium.core.CoapResource;
import org.eclipse.californium.core.CoapResponse;
import org.eclipse.californium.core.CoapServer;
import org.eclipse.californium.core.coap.CoAP;
import org.eclipse.californium.core.coap.Request;
import org.eclipse.californium.core.coap.Response;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.core.server.resources.CoapExchange;
import org.eclipse.californium.elements.config.CertificateAuthenticationMode;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.util.Filter;
import org.eclipse.californium.elements.util.SslContextUtil;
import org.eclipse.californium.elements.util.StringUtil;
import org.eclipse.californium.scandium.ConnectionListener;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConfig.DtlsRole;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.CertificateType;
import org.eclipse.californium.scandium.dtls.Connection;
import org.eclipse.californium.scandium.dtls.cipher.CipherSuite;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedMultiPskStore;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedSinglePskStore;
import org.eclipse.californium.scandium.dtls.x509.SingleCertificateProvider;
import org.eclipse.californium.scandium.dtls.x509.StaticNewAdvancedCertificateVerifier;

/**
 * A CoAP server or client over DTLS, steered by lines on its standard input, which tells on its standard output what happens.
 * Its arguments are words like "psk=name:0011":
 *
 * <pre>
 * role=server|client
 * psk=NAME:HEX       a client's own name and key, or one that a server accepts
 * cert=FILE          PEM, with the private key and the chain
 * ca=FILE            PEM, whom to trust
 * clients=none|wanted|needed   what certificate a server wants of its clients
 * cid=N              the length of its own connection IDs; without it, it does not speak of them
 * suites=A,B         IANA names of cipher suites
 * curves=A,B         those of key exchanges and certificates
 * age=N              Max-Age of /value of a server, in seconds
 * </pre>
 *
 * Bodies are written in base64 and follow a "#", so that there is a word even if they are empty. A server prints "listening PORT" and
 * obeys "set TEXT" (a new value of /value). A client obeys
 *
 * <pre>
 * get URI            prints "response CODE #BODY", or "failed WHY"
 * put URI #BODY      likewise
 * observe URI        prints "notification CODE #BODY" now and later
 * resume             resumes the session with the next request
 * </pre>
 *
 * Both print "session ADDRESS" when one begins, and "alert NAME" when they get or send one, and end all sessions at "close". The end of the
 * input ends the program.
 */
public final class Peer {
	private final Map<String, String> words = new HashMap<>();
	private final DTLSConnector connector;
	private final CoapEndpoint endpoint;

	public static void main(String[] args) throws Exception {
		Peer peer = new Peer(args);
		if (peer.words.get("role").equals("server")) {
			peer.serve();
		} else {
			peer.ask();
		}
		System.exit(0);
	}

	private Peer(String[] args) throws Exception {
		for (String word : args) {
			words.put(word.substring(0, word.indexOf('=')), word.substring(word.indexOf('=') + 1));
		}
		boolean server = words.get("role").equals("server");
		DtlsConfig.register();
		CoapConfig.register();
		Configuration config = Configuration.createStandardWithoutFile();
		config.set(CoapConfig.MAX_RESOURCE_BODY_SIZE, 1 << 20);
		config.set(DtlsConfig.DTLS_ROLE, server ? DtlsRole.SERVER_ONLY : DtlsRole.CLIENT_ONLY);
		config.set(DtlsConfig.DTLS_RECOMMENDED_CIPHER_SUITES_ONLY, false);
		config.set(DtlsConfig.DTLS_USE_SERVER_NAME_INDICATION, !server); // a server would want keys for each of its names
		if (words.containsKey("cid")) {
			config.set(DtlsConfig.DTLS_CONNECTION_ID_LENGTH, Integer.valueOf(words.get("cid")));
		}
		if (server) {
			config.set(DtlsConfig.DTLS_CLIENT_AUTHENTICATION_MODE,
					CertificateAuthenticationMode.valueOf(words.getOrDefault("clients", "none").toUpperCase()));
		}
		DtlsConnectorConfig.Builder builder = DtlsConnectorConfig.builder(config);
		builder.setAddress(new InetSocketAddress("127.0.0.1", 0));
		if (words.containsKey("suites")) {
			builder.set(DtlsConfig.DTLS_CIPHER_SUITES, CipherSuite.getTypesByNames(words.get("suites").split(",")));
		}
		if (words.containsKey("curves")) {
			builder.setAsListFromText(DtlsConfig.DTLS_CURVES, words.get("curves").split(","));
		}
		credentials(builder, server);
		builder.setConnectionListener(new Listener());
		connector = new DTLSConnector(builder.build());
		connector.setAlertHandler((peer, alert) -> say("alert " + alert.getDescription()));
		endpoint = CoapEndpoint.builder().setConfiguration(config).setConnector(connector).build();
	}

	private void credentials(DtlsConnectorConfig.Builder builder, boolean server) throws Exception {
		String psk = words.get("psk");
		if (psk != null) {
			String name = psk.substring(0, psk.indexOf(':'));
			byte[] key = StringUtil.hex2ByteArray(psk.substring(psk.indexOf(':') + 1));
			if (server) {
				AdvancedMultiPskStore store = new AdvancedMultiPskStore();
				store.setKey(name, key);
				builder.setAdvancedPskStore(store);
			} else {
				builder.setAdvancedPskStore(new AdvancedSinglePskStore(name, key));
			}
		}
		if (words.containsKey("cert")) {
			SslContextUtil.Credentials own = SslContextUtil.loadCredentials(words.get("cert"));
			builder.setCertificateIdentityProvider(
					new SingleCertificateProvider(own.getPrivateKey(), own.getCertificateChain(), CertificateType.X_509));
		}
		if (words.containsKey("ca")) {
			Certificate[] trusted = SslContextUtil.loadTrustedCertificates(words.get("ca"));
			builder.setAdvancedCertificateVerifier(
					StaticNewAdvancedCertificateVerifier.builder().setTrustedCertificates(trusted).build());
		}
	}

	private static synchronized void say(String line) {
		System.out.println(line);
		System.out.flush();
	}

	private static String body(byte[] payload) {
		return "#" + Base64.getEncoder().encodeToString(payload);
	}

	private void serve() throws IOException {
		CoapServer server = new CoapServer(endpoint.getConfig());
		server.addEndpoint(endpoint);
		Value value = new Value(Integer.parseInt(words.getOrDefault("age", "60")));
		server.add(value, new Large(), new Who());
		server.start();
		say("listening " + endpoint.getAddress().getPort());
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		for (String line; (line = in.readLine()) != null;) {
			if (line.startsWith("set ")) {
				value.set(line.substring(4));
			} else if (line.equals("close")) {
				close();
			}
		}
	}

	private void ask() throws Exception {
		endpoint.start();
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		for (String line; (line = in.readLine()) != null;) {
			String[] word = line.split(" ");
			switch (word[0]) {
			case "get":
				answer(send(Request.newGet(), word[1]));
				break;
			case "put":
				Request put = Request.newPut();
				put.setPayload(Base64.getDecoder().decode(word[2].substring(1)));
				answer(send(put, word[1]));
				break;
			case "observe":
				observe(word[1]);
				break;
			case "resume":
				connector.forceResumeAllSessions();
				break;
			case "close":
				close();
				break;
			default:
				say("what is " + line);
			}
		}
	}

	private Request send(Request request, String uri) {
		request.setURI(uri);
		request.send(endpoint);
		return request;
	}

	private static void answer(Request request) throws InterruptedException {
		Response response = request.waitForResponse(15_000);
		if (response != null) {
			say("response " + response.getCode() + " " + body(response.getPayload()));
		} else {
			Throwable why = request.getSendError();
			say("failed " + (why != null ? why : request.isRejected() ? "rejected" : "no response"));
		}
	}

	private void observe(String uri) {
		CoapClient client = new CoapClient(uri);
		client.setEndpoint(endpoint);
		client.observe(new CoapHandler() {
			@Override
			public void onLoad(CoapResponse response) {
				say("notification " + response.getCode() + " " + body(response.getPayload()));
			}

			@Override
			public void onError() {
				say("failed observation");
			}
		});
	}

	/** Ends all sessions, and says so to the other ends. */
	private void close() throws IOException {
		try {
			connector.startForEach((Filter<Connection>) connection -> {
				if (connection.getPeerAddress() != null) {
					connector.close(connection.getPeerAddress());
				}
				return false;
			}).get(5, TimeUnit.SECONDS);
		} catch (Exception e) {
			throw new IOException(e);
		}
	}

	private static final class Listener implements ConnectionListener {
		@Override
		public void onConnectionEstablished(Connection c) {
			say("session " + c.getPeerAddress());
		}

		@Override
		public void onConnectionRemoved(Connection c) {
		}

		@Override
		public boolean onConnectionUpdatesSequenceNumbers(Connection c, boolean writing) {
			return false;
		}

		@Override
		public boolean onConnectionMacError(Connection c) {
			return false;
		}

		@Override
		public void beforeExecution(Connection c) {
		}

		@Override
		public void updateExecution(Connection c) {
		}

		@Override
		public void afterExecution(Connection c) {
		}
	}

	/** /value: a text that is observed. */
	private static final class Value extends CoapResource {
		private final int age;
		private volatile String text = "start";

		Value(int age) {
			super("value");
			this.age = age;
			setObservable(true);
			setObserveType(CoAP.Type.CON);
			getAttributes().setObservable();
		}

		void set(String text) {
			this.text = text;
			changed();
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			exchange.setMaxAge(age);
			exchange.respond(text);
		}
	}

	/** /large: what was put there. */
	private static final class Large extends CoapResource {
		private volatile byte[] body = new byte[0];

		Large() {
			super("large");
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			exchange.respond(CoAP.ResponseCode.CONTENT, body, 42);
		}

		@Override
		public void handlePUT(CoapExchange exchange) {
			body = exchange.getRequestPayload();
			exchange.respond(CoAP.ResponseCode.CHANGED);
		}
	}

	/** /who: who asks, and from which address. */
	private static final class Who extends CoapResource {
		Who() {
			super("who");
		}

		@Override
		public void handleGET(CoapExchange exchange) {
			Principal who = exchange.advanced().getRequest().getSourceContext().getPeerIdentity();
			exchange.respond((who == null ? "nobody" : who.getName()) + " at " + exchange.getSourceSocketAddress());
		}
	}
}

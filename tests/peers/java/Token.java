// The JDK's own HTTP client as it comes: it prefers HTTP/2, and over plain HTTP offers it with every first request (h2c).
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Base64;

class Token {
    public static void main(String[] arguments) throws Exception {
        String issuer = arguments[0];
        // The API key comes by standard input: a command line is for all to read.
        String key = new String(System.in.readAllBytes()).strip();
        String basic = "Basic " + Base64.getEncoder().encodeToString((arguments[1] + ":" + key).getBytes());
        for (boolean expectsContinue : new boolean[] {false, true}) {
            HttpClient client = HttpClient.newHttpClient();
            HttpRequest request = HttpRequest.newBuilder(URI.create(issuer + "/oauth2/token"))
                .header("Authorization", basic)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .expectContinue(expectsContinue)
                .POST(HttpRequest.BodyPublishers.ofString("grant_type=client_credentials"))
                .build();
            // Twice: the second request goes over the connection of the first, where that was kept.
            for (int i = 0; i < 2; i++) {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
            }
        }
    }
}

package peer;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** An event, what it is made of as features, and what is published of it. The peers on the JVM share it. */
public final class Click {
    public String id;
    public long ts;
    public String user;
    public String site;
    public String dev;
    public String os;
    public String geo;
    public int hour;
    public double price;
    public double age;
    public double dwell;
    public double depth;
    public double score;
    public double freq;
    public int y;

    /** Slots of the model. */
    public static final int SLOTS = 1 << 18;
    /** Features of an event: six categories, six numbers, a constant. */
    public static final int FEATURES = 13;

    static final double RATE = 0.1;
    static final double EPSILON = 1e-8;

    private static final ObjectReader READER = new ObjectMapper().readerFor(Click.class);

    public static Click parse(byte[] json) throws IOException {
        return READER.readValue(json);
    }

    private static final String[] NUMBERS = {"price", "age", "dwell", "depth", "score", "freq", "constant"};
    private static final int[] NUMBER_SLOTS = new int[NUMBERS.length];

    static {
        for (int i = 0; i < NUMBERS.length; i++) {
            NUMBER_SLOTS[i] = slot(NUMBERS[i], "");
        }
    }

    /** Writes the slots and the values of the features. */
    public void features(int[] slots, double[] values) {
        slots[0] = slot("user=", user);
        slots[1] = slot("site=", site);
        slots[2] = slot("dev=", dev);
        slots[3] = slot("os=", os);
        slots[4] = slot("geo=", geo);
        slots[5] = slot("hour=", Integer.toString(hour));
        for (int i = 0; i < 6; i++) {
            values[i] = 1;
        }
        System.arraycopy(NUMBER_SLOTS, 0, slots, 6, NUMBER_SLOTS.length);
        values[6] = price;
        values[7] = age;
        values[8] = dwell;
        values[9] = depth;
        values[10] = score;
        values[11] = freq;
        values[12] = 1;
    }

    /** FNV-1a over both texts, folded to a slot. */
    static int slot(String name, String value) {
        int h = 0x811c9dc5;
        for (int i = 0; i < name.length(); i++) {
            h = (h ^ name.charAt(i)) * 0x01000193;
        }
        for (int i = 0; i < value.length(); i++) {
            h = (h ^ value.charAt(i)) * 0x01000193;
        }
        return (h ^ h >>> 18) & SLOTS - 1;
    }

    public static double sigmoid(double score) {
        return 1 / (1 + Math.exp(-score));
    }

    /** The AdaGrad step of a weight whose squared gradients, this one's too, add up to sum. */
    public static double step(double gradient, double sum) {
        return RATE * gradient / (Math.sqrt(sum) + EPSILON);
    }

    public static byte[] output(String id, double p) {
        return ("{\"id\":\"" + id + "\",\"p\":" + p + "}").getBytes(StandardCharsets.US_ASCII);
    }
}

package peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.yahoo.labs.samoa.instances.Attribute;
import com.yahoo.labs.samoa.instances.DenseInstance;
import com.yahoo.labs.samoa.instances.Instance;
import com.yahoo.labs.samoa.instances.Instances;
import com.yahoo.labs.samoa.instances.InstancesHeader;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.zip.GZIPInputStream;
import moa.classifiers.AbstractClassifier;
import moa.classifiers.meta.AdaptiveRandomForest;
import moa.classifiers.meta.AdaptiveRandomForestRegressor;
import moa.classifiers.trees.FIMTDD;
import moa.classifiers.trees.HoeffdingAdaptiveTree;

/**
 * MOA's learners for bench/quality: Main SYSTEM STREAM.json OUT.csv, as python/rivals.py has it. SYSTEM is moa-tree (a Hoeffding
 * adaptive tree, of numbers FIMT-DD) or moa-forest (an adaptive random forest of 10 trees). Which values a category has is known
 * beforehand. Streams of text or sparse columns are not for it, nor are those at which the learner itself breaks, as FIMT-DD does
 * at missing numbers: the file is empty.
 */
public final class Main {
  public static void main(String[] args) throws IOException {
    JsonNode about = new ObjectMapper().readTree(new File(args[1]));
    Path out = Path.of(args[2]), part = Path.of(args[2] + ".part");
    boolean meant = about.get("text").asText().isEmpty() && about.get("sparse").asText().isEmpty();
    try (PrintWriter w = new PrintWriter(Files.newBufferedWriter(part))) {
      if (meant) {
        new Main(about).run(args[0].equals("moa-forest"), w);
      }
      if (w.checkError()) {
        throw new IOException("cannot write " + part);
      }
    } catch (LearnerException e) {
      System.err.println(args[0] + ", " + about.get("file").asText() + ": " + e.getCause());
      Files.writeString(part, "");
    }
    Files.move(part, out, StandardCopyOption.REPLACE_EXISTING);
  }

  private final String file;
  private final String task;
  private final List<String> numeric, categorical, classes;
  private final List<TreeSet<String>> values = new ArrayList<>(); // of each category

  private Main(JsonNode about) {
    file = about.get("file").asText();
    task = about.get("task").asText();
    numeric = names(about.get("numeric"));
    categorical = names(about.get("categorical"));
    classes = task.equals("binary") ? List.of("0", "1") : names(about.get("classes"));
    categorical.forEach(c -> values.add(new TreeSet<>()));
  }

  private static List<String> names(JsonNode list) {
    List<String> names = new ArrayList<>();
    list.forEach(n -> names.add(n.asText()));
    return names;
  }

  /** The learner broke. */
  private static final class LearnerException extends RuntimeException {
    LearnerException(RuntimeException cause) {
      super(cause);
    }
  }

  /** What is done with a row. */
  private interface Row {
    void take(String[] numbers, String[] categories, String label);
  }

  private void each(Row row) throws IOException {
    try (BufferedReader r =
        new BufferedReader(new InputStreamReader(new GZIPInputStream(new FileInputStream(file)), StandardCharsets.UTF_8))) {
      List<String> header = cells(r.readLine());
      int[] number = numeric.stream().mapToInt(header::indexOf).toArray();
      int[] category = categorical.stream().mapToInt(header::indexOf).toArray();
      int y = header.indexOf("y");
      for (String line; (line = r.readLine()) != null; ) {
        List<String> cells = cells(line);
        row.take(
            Arrays.stream(number).mapToObj(cells::get).toArray(String[]::new),
            Arrays.stream(category).mapToObj(cells::get).toArray(String[]::new),
            cells.get(y));
      }
    }
  }

  /** The cells of a line; none of the files has a line break in a cell. */
  private static List<String> cells(String line) {
    List<String> cells = new ArrayList<>();
    StringBuilder cell = new StringBuilder();
    boolean quoted = false;
    for (int i = 0; i < line.length(); i++) {
      char c = line.charAt(i);
      if (c == '"') {
        if (quoted && i + 1 < line.length() && line.charAt(i + 1) == '"') {
          cell.append(line.charAt(++i));
        } else {
          quoted = !quoted;
        }
      } else if (c == ',' && !quoted) {
        cells.add(cell.toString());
        cell.setLength(0);
      } else {
        cell.append(c);
      }
    }
    cells.add(cell.toString());
    return cells;
  }

  private AbstractClassifier learner(boolean forest) {
    if (task.equals("number")) {
      if (!forest) {
        return new FIMTDD();
      }
      AdaptiveRandomForestRegressor f = new AdaptiveRandomForestRegressor();
      f.ensembleSizeOption.setValue(10);
      return f;
    }
    if (!forest) {
      return new HoeffdingAdaptiveTree();
    }
    AdaptiveRandomForest f = new AdaptiveRandomForest();
    f.ensembleSizeOption.setValue(10);
    return f;
  }

  private void run(boolean forest, PrintWriter out) throws IOException {
    each(
        (numbers, categories, label) -> {
          for (int i = 0; i < categories.length; i++) {
            values.get(i).add(categories[i]);
          }
        });
    boolean number = task.equals("number");
    List<Attribute> attributes = new ArrayList<>();
    numeric.forEach(n -> attributes.add(new Attribute(n)));
    for (int i = 0; i < categorical.size(); i++) {
      attributes.add(new Attribute(categorical.get(i), new ArrayList<>(values.get(i))));
    }
    attributes.add(number ? new Attribute("y") : new Attribute("y", classes));
    Instances rows = new Instances("stream", attributes, 0);
    rows.setClassIndex(attributes.size() - 1);
    InstancesHeader header = new InstancesHeader(rows);
    header.setClassIndex(attributes.size() - 1);

    AbstractClassifier learner = learner(forest);
    learner.setRandomSeed(1);
    learner.setModelContext(header);
    learner.prepareForUse();
    learner.resetLearning();
    List<List<String>> known = new ArrayList<>();
    values.forEach(v -> known.add(new ArrayList<>(v)));
    out.println(task.equals("classes") ? String.join(",", classes.stream().map(Main::quoted).toList()) : "p");
    each(
        (numbers, categories, label) -> {
          double[] x = new double[attributes.size()];
          for (int i = 0; i < numbers.length; i++) {
            x[i] = numbers[i].isEmpty() ? Double.NaN : Double.parseDouble(numbers[i]);
          }
          for (int i = 0; i < categories.length; i++) {
            x[numbers.length + i] = known.get(i).indexOf(categories[i]);
          }
          if (number) {
            x[x.length - 1] = Double.parseDouble(label);
          } else {
            x[x.length - 1] = classes.indexOf(task.equals("binary") ? (Double.parseDouble(label) == 0 ? "0" : "1") : label);
          }
          Instance instance = new DenseInstance(1, x);
          instance.setDataset(header);
          double[] votes;
          try {
            votes = learner.getVotesForInstance(instance);
            learner.trainOnInstance(instance);
          } catch (RuntimeException e) {
            throw new LearnerException(e);
          }
          out.println(prediction(votes, number));
        });
  }

  private static String quoted(String name) {
    return name.matches("[^\",]*") ? name : '"' + name.replace("\"", "\"\"") + '"';
  }

  /** What a learner says: a number, 0 before it says any; or the shares of the votes that are numbers, equal if there are none. */
  private String prediction(double[] votes, boolean number) {
    if (number) {
      return Double.toString(votes.length > 0 ? votes[0] : 0);
    }
    double[] p = Arrays.stream(Arrays.copyOf(votes, classes.size())).map(v -> Double.isFinite(v) ? v : 0).toArray();
    double sum = Arrays.stream(p).sum();
    for (int i = 0; i < p.length; i++) {
      p[i] = sum > 0 ? p[i] / sum : 1.0 / p.length;
    }
    return task.equals("binary") ? Double.toString(p[1]) : String.join(",", Arrays.stream(p).mapToObj(Double::toString).toList());
  }
}

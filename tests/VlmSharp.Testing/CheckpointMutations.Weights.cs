using System.Buffers.Binary;
using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

public static partial class CheckpointMutations
{
    static IEnumerable<CheckpointMutation> Weights(string directory, string file)
    {
        byte[] whole = File.ReadAllBytes(Path.Combine(directory, file));
        (string header, byte[] data) = SafetensorsWriter.Split(whole);
        JsonObject tensors = JsonNode.Parse(header)!.AsObject();
        tensors.Remove("__metadata__");
        string[] names = [.. tensors.OrderBy(pair => Begin(pair.Value!)).Select(pair => pair.Key)];
        return
        [
            .. Lengths(file, whole.Length, header.Length, tensors, names),
            .. HeaderTexts(file, header),
            .. Entries(file, tensors, names, data.Length),
        ];
    }

    static bool IsMatrix(JsonNode tensor) =>
        tensor["shape"]!.AsArray() is [{ } rows, { } columns] && rows.GetValue<int>() != columns.GetValue<int>();

    static long Begin(JsonNode tensor) => tensor["data_offsets"]![0]!.GetValue<long>();

    static long End(JsonNode tensor) => tensor["data_offsets"]![1]!.GetValue<long>();

    // The file as a whole: missing, cut, longer, and every kind of lie in the length field.
    static IEnumerable<CheckpointMutation> Lengths(
        string file,
        long length,
        int header,
        JsonObject tensors,
        string[] names
    )
    {
        yield return New("missing", copy => copy.Delete(file));
        yield return New("a directory", copy => copy.MakeDirectory(file));
        yield return New("a link to nothing", copy => copy.MakeDanglingLink(file));
        yield return New(
            "a page that says the file was not found",
            copy => copy.Write(file, "<html><body>404: Not Found</body></html>")
        );
        yield return New(
            "a pointer of Git LFS",
            copy => copy.Write(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        );
        yield return New("random bytes", copy => copy.Write(file, Noise(4096)));
        yield return New("a gigabyte of zeros", copy => copy.WriteSparse(file, 1L << 30));
        foreach (int cut in (int[])[0, 1, 7, 8, 9, 8 + (header / 2), 8 + header - 1, 8 + header])
        {
            yield return New($"cut after byte {cut} of {8 + header} before the data", copy => copy.Truncate(file, cut));
        }

        long dataStart = 8 + header;
        foreach (string name in names)
        {
            yield return New(
                $"cut where '{name}' starts",
                copy => copy.Truncate(file, dataStart + Begin(tensors[name]!))
            );
        }

        foreach (string name in (string[])[names[0], names[names.Length / 2], names[^1]])
        {
            long middle = (Begin(tensors[name]!) + End(tensors[name]!)) / 2;
            yield return New($"cut in the middle of '{name}'", copy => copy.Truncate(file, dataStart + middle));
        }

        yield return New("one byte short", copy => copy.Truncate(file, length - 1));
        foreach (int extra in (int[])[1, 8, 4096])
        {
            yield return New(
                $"{extra} bytes too long",
                copy => copy.Write(file, [.. copy.Read(file), .. new byte[extra]])
            );
        }

        foreach (
            ulong lie in (ulong[])
                [
                    0,
                    1,
                    2,
                    (ulong)header - 1,
                    (ulong)header + 1,
                    (ulong)header + 8,
                    (ulong)length - 8,
                    (ulong)length - 7,
                    (ulong)length,
                    100_000_000,
                    100_000_001,
                    int.MaxValue - 8,
                    int.MaxValue,
                    1UL << 31,
                    uint.MaxValue,
                    1UL << 32,
                    long.MaxValue - 8,
                    long.MaxValue,
                    1UL << 63,
                    ulong.MaxValue - 7,
                    ulong.MaxValue,
                ]
        )
        {
            yield return New(
                $"header length is {lie}",
                copy =>
                {
                    byte[] bytes = copy.Read(file);
                    BinaryPrimitives.WriteUInt64LittleEndian(bytes, lie);
                    copy.Write(file, bytes);
                }
            );
        }

        CheckpointMutation New(string what, Action<CheckpointCopy> apply) =>
            new($"{file}: {what}", file, LoadStage.Files, apply);
    }

    // The header as text, with a length field that fits it.
    static IEnumerable<CheckpointMutation> HeaderTexts(string file, string header)
    {
        yield return New("is empty", _ => "");
        yield return New("starts with a blank", text => " " + text);
        yield return New("is a list", text => $"[{text}]");
        yield return New("is null", _ => "null");
        yield return New("is an empty object", _ => "{}");
        yield return New("is followed by text", text => text + "x");
        yield return New("is followed by a second one", text => text.TrimEnd() + text);
        yield return New("is padded with zeros", text => text + "\0\0\0");
        yield return New("has a comment", text => "{/* */" + text[1..]);
        yield return New("has a trailing comma", text => text.TrimEnd()[..^1] + ",}");
        yield return New("is not closed", text => text.TrimEnd()[..^1]);
        yield return New("is nested 1000 deep", text => WithField(text, new string('[', 1000) + new string(']', 1000)));
        yield return New("opens 1 000 000 objects", _ => string.Concat(Enumerable.Repeat("{\"a\":", 1_000_000)));
        yield return New("has a tensor name that is no character", text => WithEntry(text, "\"\\ud800\"", "null"));
        yield return New("has a tensor that is null", text => WithEntry(text, "\"x\"", "null"));
        yield return New("has a tensor that is a number", text => WithEntry(text, "\"x\"", "1"));
        yield return New("has a tensor that is a string", text => WithEntry(text, "\"x\"", "\"F32\""));
        yield return New("has a tensor that is a list", text => WithEntry(text, "\"x\"", "[]"));
        yield return New("has a tensor that is empty", text => WithEntry(text, "\"x\"", "{}"));
        yield return New("has a name of a megabyte", text => WithEntry(text, $"\"{new string('x', 1 << 20)}\"", "{}"));
        foreach (
            string value in (string[])
                [
                    "1",
                    "[]",
                    "null",
                    "{\"a\": 1}",
                    "{\"a\": null}",
                    "{\"a\": {\"b\": \"c\"}}",
                    "{\"a\": \"b\", \"a\": \"b\"}",
                ]
        )
        {
            yield return new(
                $"{file}: header has the metadata {value}",
                file,
                LoadStage.Files,
                copy =>
                {
                    copy.Header(file, root => root.Remove("__metadata__"));
                    copy.HeaderText(file, text => WithEntry(text, "\"__metadata__\"", value));
                }
            );
        }

        yield return New(
            "has the metadata twice",
            text =>
                WithEntry(WithEntry(text, "\"__metadata__\"", "{\"a\": \"b\"}"), "\"__metadata__\"", "{\"c\": \"d\"}")
        );

        // The highest bit of any byte breaks the encoding; a letter instead of punctuation breaks the syntax.
        for (int i = 0; i < 16; i++)
        {
            int at = (int)((long)header.Length * i / 16);
            yield return new(
                $"{file}: highest bit of header byte {at}",
                file,
                LoadStage.Files,
                copy =>
                {
                    byte[] bytes = copy.Read(file);
                    bytes[8 + at] ^= 0x80;
                    copy.Write(file, bytes);
                }
            );
        }

        int[] punctuation = [.. Enumerable.Range(0, header.Length).Where(at => "{}[]:,".Contains(header[at]))];
        for (int i = 0; i < 24; i++)
        {
            int at = punctuation[(int)((long)punctuation.Length * i / 24)];
            yield return New($"has x instead of {header[at]} at {at}", text => $"{text[..at]}x{text[(at + 1)..]}");
        }

        CheckpointMutation New(string what, Func<string, string> change) =>
            new($"{file}: header {what}", file, LoadStage.Files, copy => copy.HeaderText(file, change));
    }

    // The header text with one more entry at its start.
    static string WithEntry(string header, string name, string value) => $"{{{name}:{value},{header[1..]}";

    // Single entries of the header that are wrong alone, or against the file's length, or against their neighbours.
    static IEnumerable<CheckpointMutation> Entries(string file, JsonObject tensors, string[] names, long dataLength)
    {
        // One in the middle, with neighbours on both sides.
        int position = Array.FindIndex(names, names.Length / 3, name => IsMatrix(tensors[name]!));
        string middle = names[position];
        JsonNode entry = tensors[middle]!;
        (long begin, long end) = (Begin(entry), End(entry));
        int rows = entry["shape"]![0]!.GetValue<int>();
        int columns = entry["shape"]![1]!.GetValue<int>();

        foreach (
            (string field, string?[] values) in ((string, string?[])[])
                [
                    (
                        "dtype",
                        [
                            null,
                            "null",
                            "1",
                            "[]",
                            "{}",
                            "\"\"",
                            "\"F12\"",
                            "\"f32\"",
                            "\"13\"",
                            "\"43\"",
                            "\"F32,F16\"",
                            "\"Bool\"",
                            "\"F64\"",
                            "\"I8\"",
                            "\"F4\"",
                        ]
                    ),
                    (
                        "shape",
                        [
                            null,
                            "null",
                            "1",
                            "\"[1]\"",
                            "{}",
                            "[]",
                            $"[[{rows}, {columns}]]",
                            $"[\"{rows}\", {columns}]",
                            $"[{rows}, null]",
                            $"[{-rows}, {-columns}]",
                            $"[{rows}.5, {columns}]",
                            $"[{rows}.0, {columns}]",
                            $"[{rows}e0, {columns}]",
                            $"[{rows + 1}, {columns}]",
                            $"[{rows}, {columns - 1}]",
                            $"[0, {columns}]",
                            "[2147483648]",
                            "[9223372036854775807, 2]",
                            "[9223372036854775808]",
                            "[4294967296, 4294967296]",
                            "[2147483647, 2147483647, 2147483647, 2147483647, 2147483647]",
                            "[1e400]",
                            $"[{string.Join(", ", Enumerable.Repeat("1", 100_000))}]",
                        ]
                    ),
                    (
                        "data_offsets",
                        [
                            null,
                            "null",
                            "1",
                            "\"0,4\"",
                            "{}",
                            "[]",
                            $"[{begin}]",
                            $"[{begin}, {end}, {end}]",
                            $"[{end}, {begin}]",
                            $"[{begin}, {begin}]",
                            $"[{begin}, {end - 1}]",
                            $"[{begin}, {end + 1}]",
                            $"[{begin - 4}, {end - 4}]",
                            $"[{begin + 4}, {end + 4}]",
                            $"[0, {end - begin}]",
                            $"[{begin - end}, 0]",
                            $"[{begin}.0, {end}.0]",
                            $"[\"{begin}\", \"{end}\"]",
                            $"[{dataLength}, {dataLength + end - begin}]",
                            $"[{begin}, {dataLength + 1}]",
                            $"[{begin}, 9223372036854775807]",
                            $"[9223372036854775807, 9223372036854775807]",
                            $"[{begin}, 18446744073709551615]",
                            $"[{begin}, -1]",
                        ]
                    ),
                ]
        )
        {
            foreach (string? value in values)
            {
                string shown =
                    value is null ? "missing"
                    : value.Length > 50 ? value[..50] + "..."
                    : value;
                yield return New($"{field} is {shown}", root => Set(root[middle]!.AsObject(), field, value));
            }
        }

        string text = $"\"{middle}\":";
        foreach (string field in (string[])["\"dtype\":\"F32\"", "\"shape\":[1]", "\"data_offsets\":[0,4]"])
        {
            yield return new(
                $"{file}: header has {field} twice",
                file,
                LoadStage.Files,
                copy => copy.HeaderText(file, header => header.Replace(text + "{", $"{text}{{{field},"))
            );
        }

        yield return new(
            $"{file}: header describes a tensor twice",
            file,
            LoadStage.Files,
            copy => copy.HeaderText(file, header => WithEntry(header, $"\"{middle}\"", entry.ToJsonString()))
        );
        foreach (string name in (string[])[names[0], middle, names[^1]])
        {
            yield return new(
                $"{file}: header does not describe '{name}'",
                file,
                LoadStage.Files,
                copy => copy.Header(file, root => root.Remove(name))
            );
        }

        yield return New("is described under a second name", root => root["x"] = root[middle]!.DeepClone());
        yield return New(
            "trades its place with a longer one",
            root => Trade(root, middle, names.First(name => End(tensors[name]!) - Begin(tensors[name]!) > end - begin))
        );
        yield return New(
            "is followed by a tensor behind the end",
            root =>
                root["x"] = JsonNode.Parse(
                    $$"""{"dtype":"U8","shape":[1],"data_offsets":[{{dataLength}},{{dataLength + 1}}]}"""
                )
        );
        yield return New(
            "is followed by an empty tensor in the middle of another",
            root =>
                root["x"] = JsonNode.Parse(
                    $$"""{"dtype":"U8","shape":[0],"data_offsets":[{{begin + 1}},{{begin + 1}}]}"""
                )
        );
        foreach (string dtype in (string[])["I32", "U32"])
        {
            // Of the same size as f32; for bf16 the 16-bit one.
            string same = entry["dtype"]!.GetValue<string>() == "F32" ? dtype : dtype.Replace("32", "16");
            yield return New($"dtype is {same}, which no weight is", root => root[middle]!["dtype"] = same);
        }

        yield return New("shape is turned round", root => root[middle]!["shape"] = new JsonArray(columns, rows)) with
        {
            Stage = LoadStage.Model,
        };
        yield return New(
            "shape has one more dimension",
            root => root[middle]!["shape"] = new JsonArray(1, rows, columns)
        ) with
        {
            Stage = LoadStage.Model,
        };
        yield return New(
            "has another name",
            root =>
            {
                JsonNode moved = root[middle]!.DeepClone();
                root.Remove(middle);
                root[middle + "_"] = moved;
            }
        ) with
        {
            Stage = LoadStage.Model,
        };
        CheckpointMutation New(string what, Action<JsonObject> change) =>
            new($"{file}: tensor {what}", file, LoadStage.Files, copy => copy.Header(file, change));
    }

    static void Trade(JsonObject root, string a, string b)
    {
        JsonNode offsets = root[a]!["data_offsets"]!.DeepClone();
        root[a]!["data_offsets"] = root[b]!["data_offsets"]!.DeepClone();
        root[b]!["data_offsets"] = offsets;
    }

    // The index against the shards.
    static IEnumerable<CheckpointMutation> Shards(string directory, string shard)
    {
        JsonObject map = JsonNode.Parse(File.ReadAllText(Path.Combine(directory, Index)))!["weight_map"]!.AsObject();
        string tensor = map.First(pair => pair.Value!.GetValue<string>() == shard).Key;
        string other = map.Select(pair => pair.Value!.GetValue<string>()).First(name => name != shard);
        foreach (string? value in (string?[])[null, "null", "1", "\"x\"", "[]", "{}", $"[\"{tensor}\"]"])
        {
            yield return Field(Index, LoadStage.Files, "weight_map", value);
        }

        foreach (
            string value in (string[])
                [
                    "null",
                    "1",
                    "true",
                    "[]",
                    "{}",
                    $"[\"{shard}\"]",
                    "\"\"",
                    "\".\"",
                    "\"..\"",
                    "\".safetensors\"",
                    "\"model-00009-of-00003.safetensors\"",
                    "\"config.json\"",
                    $"\"../{shard}\"",
                    $"\"./{shard}\"",
                    $"\"sub/{shard}\"",
                    $"\"..\\\\{shard}\"",
                    $"\"C:{shard}\"",
                    "\"/etc/passwd\"",
                    $"\"/{shard}\"",
                    $"\"{shard}\\u0000\"",
                    $"\"\\u0000{shard}\"",
                    $"\"{shard}/\"",
                    $"\"{shard} \"",
                    $"\"{new string('x', 5000)}.safetensors\"",
                    $"\"{other}\"",
                ]
        )
        {
            string shown = value.Length > 50 ? value[..50] + "..." : value;
            yield return New(
                $"weight_map names {shown}",
                Index,
                copy => copy.Json(Index, root => root["weight_map"]![tensor] = JsonNode.Parse(value))
            );
        }

        yield return New(
            "weight_map has a tensor that is in no shard",
            Index,
            copy => copy.Json(Index, root => root["weight_map"]!["x"] = shard)
        );
        yield return New(
            "weight_map lacks a tensor",
            Index,
            copy => copy.Json(Index, root => root["weight_map"]!.AsObject().Remove(tensor))
        );
        yield return New(
            "weight_map has a tensor twice",
            Index,
            copy =>
                copy.Text(Index, text => text.Replace($"\"{tensor}\":", $"\"{tensor}\": \"{shard}\", \"{tensor}\":"))
        );
        yield return New(
            "weight_map puts all tensors into one shard",
            Index,
            copy =>
                copy.Json(
                    Index,
                    root =>
                    {
                        foreach (string name in map.Select(pair => pair.Key))
                        {
                            root["weight_map"]![name] = shard;
                        }
                    }
                )
        );
        yield return New("no index and no single file", "model.safetensors", copy => copy.Delete(Index));
        yield return New("a shard is another one's copy", Index, copy => copy.Write(shard, copy.Read(other)));
        yield return New(
            "two shards have the same tensor",
            other,
            copy =>
            {
                (string header, byte[] data) = SafetensorsWriter.Split(copy.Read(other));
                JsonObject root = JsonNode.Parse(header)!.AsObject();
                root[tensor] = JsonNode.Parse(
                    $$"""{"dtype":"BF16","shape":[1],"data_offsets":[{{data.Length}},{{data.Length + 2}}]}"""
                );
                copy.Write(other, SafetensorsWriter.Join(root.ToJsonString(), [.. data, 0, 0]));
            }
        );
        yield return New("a shard has no tensors", Index, copy => copy.Write(shard, SafetensorsWriter.Join("{}", [])));
        yield return New(
            "a shard has a tensor under another name",
            Index,
            copy => copy.HeaderText(shard, text => text.Replace($"\"{tensor}\"", $"\"{tensor}_\""))
        );
        yield return New(
            "a single file that is empty beside the index",
            "model.safetensors",
            copy => copy.Write("model.safetensors", Array.Empty<byte>())
        );

        static CheckpointMutation New(string what, string file, Action<CheckpointCopy> apply) =>
            new($"shards: {what}", file, LoadStage.Files, apply);
    }
}

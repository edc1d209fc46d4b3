using System.Buffers.Binary;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels;

public sealed class KeyValueStoreTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string, KvStorage> Ways =>
        [.. KeyValueStore.Variants.SupportedNames.SelectMany(_ => Enum.GetValues<KvStorage>(), (v, s) => (v, s))];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Ways))]
    public void A_stored_token_is_found_where_the_layout_says_and_no_other_is_touched(string variant, KvStorage storage)
    {
        foreach (
            (int kvHeads, int headDim) in new[]
            {
                (1, 1),
                (3, 12),
                (2, 40),
                (2, 64),
                (1, 80),
                (2, 33),
                (1, 95),
                (1, 128),
            }
        )
        {
            // Two whole pages but for a token here and there, and a piece that begins and ends in the middle of a square.
            int[] slots =
            [
                .. Enumerable.Range(0, 100).Where(t => t != 37),
                3 * KvLayout.PageTokens - 1,
                .. Enumerable.Range(132, 21),
            ];
            Check(new KvLayout(kvHeads, headDim, storage), slots);
        }

        void Check(KvLayout layout, int[] slots)
        {
            int width = layout.KvHeads * layout.HeadDim;
            using Strided k = Draw(slots.Length, width, 1);
            using Strided v = Draw(slots.Length, width, 2);
            using GuardedMemory<byte> memory = new(3 * layout.PageBytes);
            memory.Span.Fill(0xA5);
            KeyValueStore.Write(
                Kernel(variant),
                k.Span,
                k.Stride,
                v.Span,
                v.Stride,
                slots.Length,
                layout,
                memory.Span,
                slots,
                pool
            );

            byte[] expected = new byte[memory.Length];
            expected.AsSpan().Fill(0xA5);
            for (int r = 0; r < slots.Length; r++)
            {
                for (int head = 0; head < layout.KvHeads; head++)
                {
                    int at =
                        (slots[r] / KvLayout.PageTokens * layout.PageBytes)
                        + (head * layout.PageBytes / layout.KvHeads);
                    Span<byte> page = expected.AsSpan(at, layout.PageBytes / layout.KvHeads);
                    int token = slots[r] % KvLayout.PageTokens;
                    Put(layout, page, token, k.Row(r).Slice(head * layout.HeadDim, layout.HeadDim).ToArray(), true);
                    Put(layout, page, token, v.Row(r).Slice(head * layout.HeadDim, layout.HeadDim).ToArray(), false);
                }
            }

            for (int i = 0; i < expected.Length; i++)
            {
                Assert.True(expected[i] == memory.Span[i], $"{layout}: byte {i} of {expected.Length}");
            }
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Numbers_at_the_ends_of_the_range_are_stored_as_their_storage_says(string variant, KvStorage storage)
    {
        float[] extremes =
        [
            0,
            -0f,
            float.Epsilon,
            -float.Epsilon,
            1.1754944e-38f,
            float.MaxValue,
            float.MinValue,
            3.3895314e38f,
            1.00390625f,
            1.01171875f,
            float.PositiveInfinity,
            float.NegativeInfinity,
            float.NaN,
        ];
        foreach (float extreme in extremes)
        {
            const int D = 40;
            var layout = new KvLayout(1, D, storage);
            float[] k = [.. Enumerable.Range(0, 16 * D).Select(i => i % D == 5 ? extreme : i % 7)];
            byte[] page = new byte[layout.PageBytes];
            int[] slots = [.. Enumerable.Range(0, 16)];
            KeyValueStore.Write(Kernel(variant), k, D, k, D, 16, layout, page, slots, pool);
            byte[] expected = new byte[layout.PageBytes];
            for (int token = 0; token < 16; token++)
            {
                Put(layout, expected, token, k[(token * D)..((token + 1) * D)], true);
                Put(layout, expected, token, k[(token * D)..((token + 1) * D)], false);
            }

            Assert.True(expected.AsSpan().SequenceEqual(page), $"{extreme}");
        }
    }

    [Fact]
    public void A_page_takes_what_its_storage_says()
    {
        Assert.Equal(64 * 2 * 2 * 128 * 4, new KvLayout(2, 128).PageBytes);
        Assert.Equal(64 * 2 * 2 * 128 * 2, new KvLayout(2, 128, KvStorage.BF16).PageBytes);
        Assert.Equal(64 * 2 * 2 * 128 * 17 / 16, new KvLayout(2, 128, KvStorage.Q8).PageBytes);
        // 72 channels of keys, 80 of values.
        Assert.Equal(64 * (72 + 80) * 2, new KvLayout(1, 72, KvStorage.BF16).PageBytes);
        Assert.Throws<ArgumentException>(() =>
            KeyValueStore.Write([], 1, [], 1, 0, new KvLayout(1, 1, (KvStorage)9), [], [], pool)
        );
    }

    /// <summary>Stores one token of one head as the remarks of <see cref="KvLayout"/> say.</summary>
    static void Put(KvLayout layout, Span<byte> page, int token, float[] x, bool isKey)
    {
        const int Tokens = KvLayout.PageTokens;
        int d = layout.HeadDim;
        int padded = (d + 15) / 16 * 16;
        int even = (d + 1) / 2 * 2;
        int size = storageSize(layout.Storage);
        int channels = layout.Storage == KvStorage.F32 ? d : even;
        int values = Tokens * channels * size;
        int factors = values + (Tokens * padded * size);
        int groups = (d + 31) / 32;
        for (int i = 0; i < (isKey ? channels : padded); i++)
        {
            float number = i < d ? x[i] : 0;
            int first = i / 32 * 32; // channel of the panel of values
            int panel = Math.Min(32, padded - first);
            int element = (isKey, layout.Storage) switch
            {
                (true, KvStorage.F32) => (token / 32 * 32 * d) + (i * 32) + (token % 32),
                (true, _) => (token / 32 * 32 * even) + (i / 2 * 64) + (token % 32 * 2) + (i % 2),
                (false, KvStorage.F32) => (first * Tokens) + (token * panel) + i - first,
                _ => (first * Tokens) + (((token / 2 * panel) + i - first) * 2) + (token % 2),
            };
            Span<byte> to = page[((isKey ? 0 : values) + (element * size))..];
            float factor = StoredNumbers.Factor(x[first..Math.Min(first + 32, d)]);
            switch (layout.Storage)
            {
                case KvStorage.F32:
                    BinaryPrimitives.WriteSingleLittleEndian(to, number);
                    break;
                case KvStorage.BF16:
                    BinaryPrimitives.WriteUInt16LittleEndian(to, Bits(StoredNumbers.Bf16(number)));
                    break;
                default:
                    to[0] = (byte)(sbyte)(factor > 0 ? MathF.Round(number / factor) : 0);
                    int place = isKey
                        ? (((token / 32 * groups) + (i / 32)) * 32) + (token % 32)
                        : (groups * Tokens) + (i / 32 * Tokens) + token;
                    ushort bits = float.IsNaN(factor) ? (ushort)0x7FC0 : Bits(factor);
                    BinaryPrimitives.WriteUInt16LittleEndian(page[(factors + (place * 2))..], bits);
                    break;
            }
        }

        static int storageSize(KvStorage storage) =>
            storage switch
            {
                KvStorage.F32 => 4,
                KvStorage.BF16 => 2,
                _ => 1,
            };

        static ushort Bits(float x) => (ushort)(BitConverter.SingleToUInt32Bits(x) >> 16);
    }

    static KeyValueKernel Kernel(string variant) => KeyValueStore.Variants.Supported.Single(v => v.Name == variant).Run;

    static Strided Draw(int rows, int width, int gap)
    {
        Random random = new(rows + gap);
        return new Strided(
            rows,
            width,
            width + gap,
            (_, _) => MathF.Exp((random.NextSingle() * 12) - 6) * (random.Next(2) - 0.5f)
        );
    }
}

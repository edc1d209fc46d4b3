using VlmSharp.Datasets;

namespace VlmSharp.Training.Synthesis;

/// <summary>Many ways to ask for the same. The first of each list is the fixed one; {0} and {1} are what is asked about.</summary>
static class Phrases
{
    static readonly Dictionary<string, (string[] English, string[] Chinese)> All = new()
    {
        ["read"] = (
            [
                "Read the text.",
                "What does it say?",
                "What is written here?",
                "What is written in the picture?",
                "Transcribe the text.",
                "What text do you see?",
                "Please read what is written.",
                "Write down the text in the picture.",
                "What does the text say?",
                "Read what is in the image.",
                "Can you read this?",
            ],
            [
                "读出文字。",
                "图中写了什么？",
                "请识别图中的文字。",
                "图片里的文字是什么？",
                "写出图中的文字。",
                "上面写着什么？",
                "请读出图片中的内容。",
            ]
        ),
        ["read-lines"] = (
            [
                "Read all lines.",
                "Read the lines from top to bottom.",
                "Transcribe every line of text.",
                "Write down all the text, line by line.",
                "What do the lines say?",
            ],
            ["读出所有行。", "请从上到下逐行读出文字。", "写出图中每一行文字。", "各行写了什么？"]
        ),
        ["read-line"] = (
            [
                "Read line {0}.",
                "What is in line {0}?",
                "What does line {0} say?",
                "Which text stands in line {0}, counted from the top?",
            ],
            ["读出第{0}行。", "第{0}行是什么？", "从上往下数，第{0}行写着什么？"]
        ),
        ["read-box"] = (
            [
                "Read the text in {0}.",
                "What is written in the region {0}?",
                "What does it say at {0}?",
                "Which text is inside {0}?",
            ],
            ["读出{0}中的文字。", "{0}处写了什么？", "区域{0}里的文字是什么？"]
        ),
        ["locate"] = (
            [
                "Where is {0}?",
                "Find {0}.",
                "Locate {0}.",
                "Show me {0}.",
                "In which place is {0}?",
                "Give the box of {0}.",
                "Mark {0} in the picture.",
            ],
            ["{0}在哪里？", "请找出{0}。", "请定位{0}。", "框出{0}。", "图中{0}的位置在哪？"]
        ),
        ["locate-all"] = (
            [
                "Find all {0}.",
                "Where are the {0}?",
                "Locate every one of the {0}.",
                "Mark all {0} from left to right.",
                "Give the boxes of all {0}.",
            ],
            ["找出所有{0}。", "所有{0}在哪里？", "请从左到右框出所有{0}。"]
        ),
        ["count"] = (
            [
                "How many {0}?",
                "How many {0} are there?",
                "Count the {0}.",
                "What is the number of {0}?",
                "How many {0} do you see in the picture?",
                "How many {0} does the image show?",
            ],
            ["有几个{0}？", "图中有多少个{0}？", "数一数{0}的个数。", "图片里一共有几个{0}？"]
        ),
        ["name-shape"] = (
            [
                "Which shape is it?",
                "What shape is this?",
                "What is in the picture?",
                "What do you see?",
                "Name the shape.",
            ],
            ["这是什么形状？", "图中是什么形状？", "图里有什么？", "请说出形状。"]
        ),
        ["name-shape-of"] = (
            ["Which shape is {0}?", "What shape is the {0} one?", "Name the shape that is {0}.", "What is {0}?"],
            ["{0}的是什么形状？", "哪个形状是{0}的？", "请说出{0}的形状。"]
        ),
        ["name-colour"] = (
            [
                "What colour is the {0}?",
                "Which colour does the {0} have?",
                "Name the colour of the {0}.",
                "What is the colour of the {0}?",
                "The {0} is which colour?",
            ],
            ["{0}是什么颜色？", "请说出{0}的颜色。", "图中{0}的颜色是什么？"]
        ),
        ["list-shapes"] = (
            [
                "List the shapes from left to right.",
                "What is in the picture, from left to right?",
                "Name everything from left to right.",
                "Which shapes do you see, starting at the left?",
            ],
            ["从左到右列出形状。", "图中从左到右有什么？", "请从左到右说出所有形状。"]
        ),
        ["exists"] = (
            ["Is there a {0}?", "Does the picture show a {0}?", "Do you see a {0}?", "Is any {0} in the image?"],
            ["有{0}吗？", "图中有{0}吗？", "能看到{0}吗？"]
        ),
        ["left"] = (
            [
                "Is the {0} left of the {1}?",
                "Is the {0} to the left of the {1}?",
                "Does the {0} lie on the left side of the {1}?",
            ],
            ["{0}在{1}的左边吗？", "{0}是不是在{1}左侧？"]
        ),
        ["right"] = (
            [
                "Is the {0} right of the {1}?",
                "Is the {0} to the right of the {1}?",
                "Does the {0} lie on the right side of the {1}?",
            ],
            ["{0}在{1}的右边吗？", "{0}是不是在{1}右侧？"]
        ),
        ["above"] = (
            ["Is the {0} above the {1}?", "Is the {0} higher up than the {1}?", "Does the {0} lie above the {1}?"],
            ["{0}在{1}的上面吗？", "{0}是不是在{1}上方？"]
        ),
        ["below"] = (
            ["Is the {0} below the {1}?", "Is the {0} lower down than the {1}?", "Does the {0} lie below the {1}?"],
            ["{0}在{1}的下面吗？", "{0}是不是在{1}下方？"]
        ),
        ["larger"] = (
            [
                "Which is larger, the {0} or the {1}?",
                "Is the {0} or the {1} larger?",
                "Which one is bigger: {0} or {1}?",
                "Which of the two covers more, the {0} or the {1}?",
            ],
            ["{0}和{1}哪个更大？", "哪个更大，{0}还是{1}？"]
        ),
    };

    /// <summary>A question, the fixed one or any.</summary>
    /// <param name="task">A row of the table.</param>
    /// <param name="scene">Language and style.</param>
    /// <param name="about">Strings, which become text, or parts.</param>
    public static IReadOnlyList<ExamplePart> Ask(string task, Scene scene, ReadOnlySpan<object> about)
    {
        (string[] english, string[] chinese) = All[task];
        string[] phrases = scene.IsChinese ? chinese : english;
        return Fill(scene.IsShort ? phrases[0] : scene.Random.Pick(phrases), about);
    }

    static List<ExamplePart> Fill(string phrase, ReadOnlySpan<object> about)
    {
        List<ExamplePart> parts = [];
        string text = "";
        int at = 0;
        while (phrase.IndexOf('{', at) is >= 0 and int open)
        {
            text += phrase[at..open];
            switch (about[phrase[open + 1] - '0'])
            {
                case ExamplePart part:
                    if (text.Length > 0)
                    {
                        parts.Add(new TextPart(text));
                    }

                    parts.Add(part);
                    text = "";
                    break;
                case string words:
                    text += words;
                    break;
                case var other:
                    throw new ArgumentException($"{other} is no part of a question", nameof(about));
            }

            at = open + 3;
        }

        text += phrase[at..];
        if (text.Length > 0)
        {
            parts.Add(new TextPart(text));
        }

        return parts;
    }
}
